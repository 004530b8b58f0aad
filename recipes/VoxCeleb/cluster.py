#!/usr/bin/env python3
"""Recipe for clustering embeddings into pseudo labels.

To run this recipe, do the following:
> python cluster.py hparams/cluster.yaml --embedding_folder F --output_folder O

The labels serve train.py hparams/pseudo_labels.yaml --labels_file O/labels.csv.

Authors
 * speechbrain_dino contributors 2026
"""

import sys

from speechbrain_dino.clustering_run import run_clustering
from speechbrain_dino.command_line import start_run

if __name__ == "__main__":
    run_clustering(*start_run(sys.argv[1:]))
