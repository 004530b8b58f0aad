#!/usr/bin/env python3
r"""Recipe for choosing settings without looking at the lists that are reported.

To run this recipe, do the following:
> python hold_out.py --data_folder F --output_folder D --trial_lists veri_test.txt
> python hold_out.py --data_folder F --output_folder D --speakers 20 --seed 2
> python hold_out.py --data_folder F --output_folder D --speakers 40 \
      --noise_folder N --rir_folder R
> python train.py hparams/dino_mini.yaml --data_folder D \
      --trial_lists "[development_degraded.txt, development.txt]" ...

D holds links to the training speakers of F, and trial lists of some of them, which the
recipes then leave out of training. With N and R the test sides are degraded as well.

Authors
 * speechbrain_dino contributors 2026
"""

from speechbrain_dino.runs.hold_out import main

if __name__ == "__main__":
    main()
