#!/usr/bin/env python3
r"""Recipe for pseudo labels: clusters of embeddings, without true labels.

To run this recipe, do the following:
> python cluster.py hparams/cluster.yaml --embedding_folder F --output_folder O
> python cluster.py hparams/cluster.yaml --model results/dino/1234/inference \
      --utterances /data/VoxCeleb2 --output_folder O
> python cluster.py hparams/cluster_plda.yaml --embedding_folder F --output_folder O

F is what embed.py writes. The YAML names the clusterer.

Authors
 * speechbrain_dino contributors 2026
"""

import sys

from speechbrain_dino.runs.cluster import run_clustering
from speechbrain_dino.runs.command_line import start_run
from speechbrain_dino.utils.errors import plain_errors

if __name__ == "__main__":
    with plain_errors(ValueError):
        arguments = start_run(sys.argv[1:], "clustering")
    run_clustering(*arguments)
