#!/usr/bin/env python3
r"""Recipe for iterative pseudo-labeling: embed, cluster, train, evaluate, and again.

To run this recipe, do the following:
> python rounds.py hparams/pseudo_labels.yaml --data_folder /data/VoxCeleb \
      --first_model results/dino/1234/inference
> python rounds.py hparams/pseudo_labels_mini.yaml --data_folder F --first_model M
> python rounds.py hparams/pseudo_labels_dlg_lc.yaml --data_folder F --first_model M

The same command continues a run that was stopped, at any stage.

Authors
 * speechbrain_dino contributors 2026
"""

import sys

from speechbrain_dino.runs.command_line import launched
from speechbrain_dino.runs.rounds import run_rounds

if __name__ == "__main__":
    run_rounds(*launched(sys.argv[1:], "rounds"))
