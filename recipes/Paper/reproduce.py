#!/usr/bin/env python3
r"""Recipe for all of arXiv 2208.05413: DINO, its rival, rounds, emotions, one page.

To run this recipe, do the following:
> python reproduce.py hparams/paper.yaml --voxceleb V --iemocap I --crema_d C \
      --msp_podcast M --noise_folder N --rir_folder R
> python reproduce.py hparams/paper_mini.yaml --voxceleb V --crema_d C ...
> python reproduce.py hparams/paper.yaml --voxceleb V --stages dino verify_dino

What is not given is skipped and named on the page, OUTPUT_FOLDER/report/index.html,
which holds the paper's tables and beside them what came out here. The same command
goes on where it was stopped.

Authors
 * speechbrain_dino contributors 2026
"""

import sys
from pathlib import Path

from speechbrain_dino.runs.reproduce import main

if __name__ == "__main__":
    main(sys.argv[1:], Path(__file__).resolve().parents[1])
