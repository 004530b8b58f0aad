"""Command line: audio to a table of embeddings.

python -m speechbrain_dino.runs.embed --model M --data D --output_folder O
"""

import logging
from pathlib import Path

from speechbrain.utils.distributed import if_main_process

from speechbrain_dino.data.audio import CHANNELS
from speechbrain_dino.embeddings.bad_audio import ON_BAD
from speechbrain_dino.embeddings.cache import take_folder
from speechbrain_dino.embeddings.extract import WINDOW_SECONDS
from speechbrain_dino.embeddings.pretrained import load_pretrained
from speechbrain_dino.runs.audio_input import check_writable, embed_audio
from speechbrain_dino.runs.usage import examples
from speechbrain_dino.utils.allocator import keep_freed_memory
from speechbrain_dino.utils.distributed import join_processes
from speechbrain_dino.utils.ending import end_on_signals, leave_processes
from speechbrain_dino.utils.errors import plain_errors
from speechbrain_dino.utils.options import Options, number
from speechbrain_dino.utils.precision import PRECISIONS

logger = logging.getLogger(__name__)


def main(arguments=None):
    """Embeds what the command line names.

    Arguments
    ---------
    arguments : list of str, optional
        The command line; ``sys.argv`` if not given.

    Returns
    -------
    EmbeddingTable
        The table.
    """
    given = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    end_on_signals()
    keep_freed_memory()
    output = Path(given.output_folder)
    with plain_errors(ValueError, OSError, ImportError):
        options = embedding_options(given)
        options["device"] = join_processes(given.device)
        if if_main_process():  # before the long work
            take_folder(output)
            check_writable(output)
        model = load_pretrained(given.model)
        table = embed_audio(given.data, model, output, **options).table
    if if_main_process():
        logger.info("%d embeddings of %d dimensions: %s", *table.vectors.shape, output)
    leave_processes()
    return table


PRECISION_HELP = (
    "of the encoder; auto is the fastest that the device computes, fp32 gives the same "
    "figures on every machine"
)


def _parser():
    parser = Options(
        description=examples() or __doc__,
        epilog="Leaves vectors.npy (float32), ids.txt and, of bad audio, status.csv.",
    )
    parser.add_argument("--output_folder", required=True, help="where the table goes")
    add_embedding_options(parser)
    return parser


def add_embedding_options(parser):
    """Adds the options of commands that embed a user's audio."""
    add = parser.add_argument
    add("--model", required=True, help="inference folder, or a name on the hub")
    add(
        "--data",
        required=True,
        help="manifest (CSV), prepared folder, audio folder or audio file",
    )
    add(
        "--on_bad",
        choices=ON_BAD,
        default="skip",
        help="audio that is silent, unreadable, too short ...: leave it out, stop, or "
        "embed what can be embedded; it is named in any case",
    )
    add(
        "--channel",
        choices=list(CHANNELS),
        default="mix",
        help="of several channels: their mean, or one",
    )
    add("--device", help="cpu, cuda or cuda:N; a GPU where there is one")
    add("--precision", choices=PRECISIONS, default="fp32", help=PRECISION_HELP)
    add(
        "--batch_seconds",
        type=number(float, low=0),
        default=120.0,
        help="audio in a batch; 0: one",
    )
    add(
        "--window_seconds",
        type=_window,
        default=WINDOW_SECONDS,
        help="longer utterances: mean of equal windows of 0.1 s or more; 0: always "
        "whole",
    )
    add("--workers", type=number(int, low=1), default=4, help="threads that read audio")
    rate = number(int, low=1000, high=384000)
    add("--sample_rate", type=rate, default=16000, help="of the model, in Hz")
    add("--data_root", help="what $data_root and relative paths in the CSV stand for")


def _window(text):
    return 0.0 if number(float, low=0)(text) == 0 else number(float, low=0.1)(text)


_OPTIONS = ("on_bad", "channel", "device", "precision", "batch_seconds", "workers")
_OPTIONS += ("sample_rate", "data_root")


def embedding_options(given):
    """What `add_embedding_options` read, for ``audio_input.embed_audio``."""
    options = {name: getattr(given, name) for name in _OPTIONS}
    if given.data_root and not Path(given.data_root).is_dir():
        raise NotADirectoryError(f"--data_root {given.data_root} is no folder")
    return options | {"window_seconds": given.window_seconds or None}


if __name__ == "__main__":
    main()
