"""Validation after each epoch: without labels, and on trial lists where given."""

import logging

import numpy as np
import torch
from speechbrain.utils.distributed import ddp_barrier, if_main_process

from speechbrain_dino.metrics.embeddings import effective_rank, neighbor_agreement
from speechbrain_dino.scoring.verify import verify_lists
from speechbrain_dino.utils.randomness import ORDER, generator

logger = logging.getLogger(__name__)


class Validator:
    """Validates the embedding; the brain calls it after each epoch.

    Without labels: the effective rank of embeddings, and how often the nearest
    neighbor of an augmented crop is another crop of the same utterance. With trial
    lists: their EER, cosine scores of the embeddings of whole utterances.

    Arguments
    ---------
    data : MultiCropDataset
        Training crops, at least two global ones, of which some utterances are embedded.
    test_manifest : speechbrain_dino.data.manifest.Manifest or None
        Utterances of the trial lists.
    trial_lists : list of path
        Trial lists; may be empty.
    hparams : dict
        ``valid_utterances``, ``validate_every``, ``validate_lists``,
        ``number_of_epochs`` and ``batch_seconds``.
    """

    def __init__(self, data, test_manifest, trial_lists, hparams):
        self.test_manifest = test_manifest
        self.trial_lists = trial_lists
        self.hparams = hparams
        wanted = min(hparams["valid_utterances"], len(data))
        order = generator(data.seed, ORDER).permutation(len(data))
        self.items = np.sort(order[:wanted])
        self.crops = data

    def __call__(self, brain, epoch, metrics):
        """Adds metrics to ``metrics`` where the epoch is one to validate."""
        every = self.hparams["validate_every"]
        if epoch % every == 0 or epoch == self.hparams["number_of_epochs"]:
            if if_main_process():
                metrics |= self.without_labels(brain)
                for name, result in self.verify(brain).items():
                    metrics[f"eer/{name}"] = result["eer"]
            ddp_barrier()

    @torch.no_grad()
    def without_labels(self, brain):
        """Effective rank, and agreement of neighbors under crops and augmentation."""
        views = [self._embed(brain, first) for first in range(0, len(self.items), 32)]
        one, other = (torch.cat(parts) for parts in zip(*views))
        return {
            "effective_rank": float(effective_rank(one)),
            "neighbor_agreement": float(neighbor_agreement(one, other)),
        }

    def _embed(self, brain, first):
        embedder = brain.embedder()
        encoder = embedder.embedding_model
        # Epoch 0 is never trained on: the same crops and noises at each validation.
        chosen = [(0, int(item)) for item in self.items[first : first + 32]]
        batch = self.crops.batch(chosen).to(brain.device)
        feats = brain.features(batch.views[0], batch.draws[0])
        training = encoder.training
        encoder.eval()
        vectors = encoder(feats).flatten(1).float().cpu()
        encoder.train(training)
        pairs = vectors.unflatten(0, (len(batch.views[0]), -1))
        return pairs[0], pairs[-1]

    def verify(self, brain, output_folder=None, train_table=None):
        """Results of trial lists, {} without any; see ``verify_lists``.

        Without an output folder only the first ``validate_lists`` are scored.
        """
        lists = self.trial_lists
        if output_folder is None:
            lists = lists[: self.hparams["validate_lists"]]
        if not lists:
            return {}
        return verify_lists(
            self.test_manifest,
            lists,
            brain.embedder(),
            output_folder,
            train_table,
            device=brain.device,
            batch_seconds=self.hparams["batch_seconds"],
        )
