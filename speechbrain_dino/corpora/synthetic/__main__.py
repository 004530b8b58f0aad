"""Command line: ``python -m speechbrain_dino.corpora.synthetic FOLDER``."""

from speechbrain_dino.corpora.synthetic.corpus import make_synthetic_corpus
from speechbrain_dino.utils.errors import plain_errors
from speechbrain_dino.utils.options import Options, number


def main(arguments=None):
    """Makes a corpus from the command line."""
    parser = Options(description="Makes synthetic speakers.")
    parser.add_argument("folder", help="where to write the corpus")
    parser.add_argument("--train_speakers", type=number(int, low=1), default=80)
    parser.add_argument("--test_speakers", type=number(int, low=4), default=24)
    parser.add_argument("--train_utterances", type=number(int, low=2), default=10)
    parser.add_argument("--test_utterances", type=number(int, low=2), default=8)
    parser.add_argument("--seed", type=number(int, low=0), default=1986)
    settings = vars(parser.parse_args(arguments))
    with plain_errors(ImportError, ValueError, OSError):
        folder = make_synthetic_corpus(**settings)
    print(f"synthetic corpus: {folder}")


if __name__ == "__main__":
    main()
