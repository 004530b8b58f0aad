#!/usr/bin/env python3
r"""Recipe for comparing methods of self-supervised speaker embeddings.

To run this recipe, do the following:
> python compare.py hparams/dino_mini.yaml hparams/simclr_mini.yaml --steps 500 \
      --seeds 1 2 3 --data_folder /data/voxceleb_mini --output_folder results/comparison
> python compare.py hparams/{dino,simclr,vicreg}_mini.yaml --minutes 5 --jobs 2 ...
> python compare.py hparams/dino_mini.yaml my.yaml --minutes 5 --seeds 1 ...

Every YAML is trained with every seed on the same data, for the same number of optimizer
steps (or --minutes of training). The same command resumes where it was stopped. The
table and the plot of EER over time are written after each run. --jobs 2 trains two at a
time, each on its share of the cores.

Authors
 * speechbrain_dino contributors 2026
"""

import sys
from pathlib import Path

from speechbrain_dino.runs.compare.command import main

if __name__ == "__main__":
    main(sys.argv[1:], Path(__file__).with_name("train.py"))
