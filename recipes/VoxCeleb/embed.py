#!/usr/bin/env python3
"""Recipe for embedding speech with a trained model.

To run this recipe, do the following:
> python embed.py --model results/dino/1234/inference --data F --output_folder O
> python embed.py --model M --data F --output_folder O --device cuda --precision bf16
> torchrun --nproc_per_node=4 embed.py ... (shares the work)

F is a manifest (CSV), a prepared folder, any folder of audio or one file. Audio that is
silent, unreadable, too short ... is left out and named in O/status.csv (--on_bad). A
run that was killed is resumed by the same command.

Authors
 * speechbrain_dino contributors 2026
"""

from speechbrain_dino.runs.embed import main

if __name__ == "__main__":
    main()
