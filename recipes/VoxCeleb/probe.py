#!/usr/bin/env python3
r"""Recipe for what frozen embeddings tell: a linear probe of any column of a manifest.

To run this recipe, do the following:
> python probe.py hparams/probe.yaml --model results/dino/1234/inference \
      --manifest M.csv --column gender --group spk_id
> python probe.py hparams/probe.yaml --model M --manifest M.csv --column language
> python probe.py hparams/probe.yaml --model M --manifest M.csv --column age \
      --group spk_id --device cuda

Authors
 * speechbrain_dino contributors 2026
"""

import sys

from speechbrain_dino.runs.command_line import launched
from speechbrain_dino.runs.probe import run_probe

if __name__ == "__main__":
    run_probe(*launched(sys.argv[1:], "probe"))
