"""Command line of :mod:`speechbrain_dino.runs.check`."""

import sys

from speechbrain_dino.runs.check import main

if __name__ == "__main__":
    main(sys.argv[1:])
