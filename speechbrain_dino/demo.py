"""From nothing to a speaker embedding in minutes: ``make demo``.

``python -m speechbrain_dino.demo [FOLDER]`` makes synthetic speakers in
``FOLDER/corpus``, trains a small DINO on them in ``FOLDER/run`` and prints a summary.
It continues where it was stopped.
"""

import subprocess
import sys
import time
from pathlib import Path

from speechbrain_dino.corpora.synthetic.corpus import make_synthetic_corpus
from speechbrain_dino.runs.command_line import read_arguments
from speechbrain_dino.utils.checked_json import read_checked
from speechbrain_dino.utils.ending import end_on_signals
from speechbrain_dino.utils.options import Options

RECIPE = Path(__file__).resolve().parents[1] / "recipes" / "VoxCeleb"


def run_demo(folder, extra=()):
    """Makes the corpus, trains, verifies and prints the result.

    Arguments
    ---------
    folder : path
        Where everything goes.
    extra : sequence of str
        More arguments for the recipe, such as ``["--number_of_epochs", "2"]``.

    Raises
    ------
    FileNotFoundError
        If the recipe is missing: the demo needs the repository, not only the package.
    subprocess.CalledProcessError
        If training fails; its own message has been shown.
    """
    if not (RECIPE / "train.py").is_file():
        raise FileNotFoundError(
            f"no recipe in {RECIPE}: run the demo from a clone of the repository, "
            "installed with `pip install -e .`"
        )
    started = time.monotonic()
    folder = Path(folder).resolve()
    run = folder / "run"
    command = ["hparams/demo.yaml", "--data_folder", str(folder / "corpus")]
    command += ["--output_folder", str(run), *extra]
    read_arguments([str(RECIPE / command[0]), *command[1:]])  # before minutes of work
    _say(f"1/3  Synthetic speakers, in VoxCeleb's layout: {_short(folder / 'corpus')}")
    make_synthetic_corpus(folder / "corpus")
    _say("2/3  DINO pretraining without labels, then verification of unseen speakers")
    subprocess.run([sys.executable, "train.py", *command], cwd=RECIPE, check=True)
    _say(f"3/3  Done in {(time.monotonic() - started) / 60:.1f} minutes")
    results = read_checked(run / "results.json")
    print(summary(results, run), flush=True)


def summary(results, run):
    """Summary of a run: EER before and after training, its files, how to use them.

    Example
    -------
    >>> lists = {"verification": {"veri_test": {"eer": 0.12}}}
    >>> lists["verification_before"] = {"veri_test": {"eer": 0.4}}
    >>> print(summary(lists, "demo/run").splitlines()[1])
    veri_test             40.00 %       12.00 %
    """
    before = results.get("verification_before", {})
    lines = [f"{'EER of unseen speakers':22}{'before':>7}{'after training':>16}"]
    for name, metrics in results["verification"].items():
        earlier = before.get(name, {}).get("eer")
        shown = "-" if earlier is None else f"{100 * earlier:.2f} %"
        lines.append(f"{name:20}{shown:>9}{100 * metrics['eer']:>12.2f} %")
    run = Path(run)
    checkpoints = sorted((run / "save").glob("CKPT*"))
    inference = _short(run / "inference")
    lines += [
        "",
        f"report      {_short(run / 'report' / 'index.html')}",
        f"checkpoint  {_short(checkpoints[-1] if checkpoints else run / 'save')}",
        f"inference   {inference}",
        "",
        "Use it:",
        "  from speechbrain.inference.speaker import EncoderClassifier",
        f'  encoder = EncoderClassifier.from_hparams(source="{inference}")',
        '  embedding = encoder.encode_batch(encoder.load_audio("speech.wav"))',
    ]
    return "\n".join(lines)


def _short(path):
    """The path from here where that is shorter."""
    try:
        return str(Path(path).relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _say(text):
    print(f"\n=== {text}", flush=True)


def main(arguments=None):
    """Command line: ``python -m speechbrain_dino.demo [FOLDER]``."""
    parser = Options(
        description="Makes synthetic speakers, trains a small DINO on them, verifies.",
        epilog="Further arguments go to the recipe.",
    )
    parser.add_argument("folder", nargs="?", default="demo", help="where to write")
    words = sys.argv[1:] if arguments is None else list(arguments)
    # The folder comes first: another word is the value of the option before it.
    first = [] if words and words[0].startswith("--") else words[:1]
    asked = {"-h", "--help"} & set(words)
    options, extra = parser.parse_args(asked or first), words[len(first) :]
    end_on_signals()
    try:
        run_demo(options.folder, extra)
    except subprocess.CalledProcessError as error:
        parser.exit(error.returncode, "The demo stopped: training failed, see above.\n")
    except (ImportError, OSError, ValueError) as error:
        parser.exit(1, f"{error}\n")


if __name__ == "__main__":
    main()
