"""Command line: ``python -m speechbrain_dino.corpora.synthetic FOLDER``."""

import argparse

from speechbrain_dino.corpora.synthetic.corpus import make_synthetic_corpus


def main(arguments=None):
    """Makes a corpus from the command line."""
    parser = argparse.ArgumentParser(description="Makes synthetic speakers.")
    parser.add_argument("folder", help="where to write the corpus")
    parser.add_argument("--train_speakers", type=int, default=80)
    parser.add_argument("--test_speakers", type=int, default=24)
    parser.add_argument("--train_utterances", type=int, default=10)
    parser.add_argument("--test_utterances", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1986)
    try:
        folder = make_synthetic_corpus(**vars(parser.parse_args(arguments)))
    except (ImportError, ValueError) as error:
        parser.exit(1, f"{error}\n")
    print(f"synthetic corpus: {folder}")


if __name__ == "__main__":
    main()
