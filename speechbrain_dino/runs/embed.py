"""Command line: audio to a table of embeddings.

python -m speechbrain_dino.runs.embed --model M --data D --output_folder O
"""

import argparse
import logging
from pathlib import Path

from speechbrain.utils.distributed import if_main_process

from speechbrain_dino.corpora.utterances import find_utterances
from speechbrain_dino.embeddings.cache import embed_to_folder
from speechbrain_dino.embeddings.pretrained import load_pretrained
from speechbrain_dino.runs.usage import examples
from speechbrain_dino.utils.allocator import keep_freed_memory
from speechbrain_dino.utils.distributed import join_processes, on_main_first
from speechbrain_dino.utils.ending import end_on_signals, leave_processes
from speechbrain_dino.utils.errors import plain_errors
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
    known = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    end_on_signals()
    keep_freed_memory()
    with plain_errors(ValueError, OSError, ImportError):
        device = join_processes(known.device)
        model = load_pretrained(known.model)
        output = Path(known.output_folder)
        manifest = on_main_first(
            lambda: find_utterances(
                known.data, output / "data", known.sample_rate, known.data_root
            )
        )
        table = embed_to_folder(
            output,
            manifest,
            model.embedder,
            model.digest,
            device=device,
            precision=known.precision,
            batch_seconds=known.batch_seconds,
            window_seconds=known.window_seconds or None,
            workers=known.workers,
            sample_rate=known.sample_rate,
        )
    if if_main_process():
        logger.info("%d embeddings of %d dimensions: %s", *table.vectors.shape, output)
    leave_processes()
    return table


PRECISION_HELP = (
    "of the encoder; auto is the fastest that the device computes, fp32 gives the same "
    "figures on every machine"
)


def _parser():
    parser = argparse.ArgumentParser(
        description=examples() or __doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Leaves vectors.npy (float32) and ids.txt in the output folder.",
    )
    add = parser.add_argument
    add("--model", required=True, help="inference folder, or a name on the hub")
    add("--data", required=True, help="manifest (CSV), prepared folder or audio folder")
    add("--output_folder", required=True, help="where the table goes")
    add("--device", help="cpu, cuda or cuda:N; a GPU where there is one")
    add("--precision", choices=PRECISIONS, default="fp32", help=PRECISION_HELP)
    add("--batch_seconds", type=float, default=120.0, help="audio in a batch; 0: one")
    add(
        "--window_seconds",
        type=float,
        default=120.0,
        help="longer utterances: mean of equal windows; 0: always whole",
    )
    add("--workers", type=int, default=4, help="threads that read audio")
    add("--sample_rate", type=int, default=16000, help="of the model")
    add("--data_root", help="what $data_root and relative paths in the CSV stand for")
    return parser


if __name__ == "__main__":
    main()
