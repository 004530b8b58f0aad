#!/usr/bin/env python3
r"""Recipe for speaker verification with any encoder that SpeechBrain can load.

To run this recipe, do the following:
> python verify.py hparams/verify.yaml --model results/dino/1234/inference \
      --data_folder /data/VoxCeleb1 --trial_lists "[veri_test2, list_test_hard2]"
> python verify.py hparams/verify.yaml --model M --data_folder F \
      --trial_lists "[veri_test]" --cohort C --calibration_list veri_test2
> python verify.py hparams/verify.yaml --model speechbrain/spkrec-ecapa-voxceleb ...

Every utterance is embedded once; the YAML names the ways to score.

Authors
 * speechbrain_dino contributors 2026
"""

import sys

from speechbrain_dino.runs.command_line import start_run
from speechbrain_dino.runs.verify import run_verification

if __name__ == "__main__":
    run_verification(*start_run(sys.argv[1:], "verification"))
