#!/usr/bin/env python3
"""Recipe for self-supervised speaker embeddings on VoxCeleb or any folder of audio.

To run this recipe, do the following:
> python train.py hparams/dino.yaml --data_folder /data/VoxCeleb
> python train.py hparams/dino_folder_mini.yaml --data_folder /data/my_recordings
> torchrun --nproc_per_node=4 train.py hparams/dino_ecapa.yaml --data_folder F

The YAML chooses corpus, method, encoder, crops and augmentation. The same command
continues a run that was stopped.

Authors
 * speechbrain_dino contributors 2026
"""

import sys

from speechbrain_dino.runs.prepare import prepare
from speechbrain_dino.runs.train import evaluate, export, make_brain, start_run
from speechbrain_dino.utils.ending import leave_processes

if __name__ == "__main__":
    hparams, run_opts = start_run(sys.argv[1:])
    run = prepare(hparams, run_opts)
    brain = make_brain(run)
    brain.fit(hparams["epoch_counter"], run.loader)
    results = evaluate(brain, run)
    export(brain, run, results)
    leave_processes()
