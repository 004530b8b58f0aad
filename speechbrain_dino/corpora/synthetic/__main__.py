"""Command line: ``python -m speechbrain_dino.corpora.synthetic FOLDER``."""

from speechbrain_dino.corpora.synthetic.corpus import make_synthetic_corpus
from speechbrain_dino.utils.errors import plain_errors
from speechbrain_dino.utils.options import Options, number


def main(arguments=None):
    """Makes a corpus from the command line."""
    parser = Options(
        prog="python -m speechbrain_dino.corpora.synthetic",
        description="Makes a corpus of synthetic speakers with trial lists.",
    )
    parser.add_argument("folder", help="where to write the corpus")
    for name, low, default, meaning in (
        ("train_speakers", 1, 80, "speakers to train on"),
        ("test_speakers", 4, 24, "speakers of the trial lists"),
        ("train_utterances", 2, 10, "utterances of each speaker to train on"),
        ("test_utterances", 2, 8, "utterances of each speaker of the trial lists"),
        ("seed", 0, 1986, "of voices, texts and rooms"),
    ):
        parser.add_argument(
            f"--{name}",
            type=number(int, low=low),
            default=default,
            metavar="N",
            help=f"{meaning}; {default} if not given",
        )
    settings = vars(parser.parse_args(arguments))
    with plain_errors(ImportError, ValueError, OSError):
        folder = make_synthetic_corpus(**settings)
    print(f"synthetic corpus: {folder}")


if __name__ == "__main__":
    main()
