#!/usr/bin/env python3
"""Recipe for emotion recognition: a linear probe, or fine-tuning.

To run this recipe, do the following:
> python train.py hparams/probe.yaml --data_folder F --model M
> python train.py hparams/finetune.yaml --data_folder F --start_model M
> torchrun --nproc_per_node=2 train.py hparams/finetune.yaml --data_folder F ...

F is the corpus; M is an inference folder, or any encoder on the hub that SpeechBrain
loads. The YAML chooses the corpus and says what is done; CREMA-D, IEMOCAP and
MSP-Podcast share this script. The same command continues a run that was stopped.

Authors
 * speechbrain_dino contributors 2026
"""

import sys

from speechbrain_dino.runs.command_line import run_emotion

if __name__ == "__main__":
    run_emotion(sys.argv[1:])
