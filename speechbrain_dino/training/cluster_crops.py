"""Cluster-aware crops: those of an item come from several utterances of its cluster.

Han, Chen and Qian, "Self-supervised learning with cluster-aware-DINO for
high-performance robust speaker verification", 2023, arXiv 2304.05754.
"""

import logging
import math
from pathlib import Path

import numpy as np
import torch
from speechbrain.utils.distributed import ddp_barrier, if_main_process

from speechbrain_dino.clustering.labels import load_labels, save_labels
from speechbrain_dino.embeddings.cache import embed_to_folder

logger = logging.getLogger(__name__)


class Partners:
    """Which utterances the crops of an utterance come from.

    The clusters are in memory that loader processes share, so that new ones reach
    loaders that run already; at first each utterance is a cluster of its own. Crops
    are drawn from ``utterances`` (at least 2) of them, itself included.

    Example
    -------
    >>> partners = Partners(num_items=5)
    >>> partners.set_labels(np.array([0, 1, 0, -1, 1]))
    >>> rng = np.random.default_rng(0)
    >>> partners.rows(rng, 0, number=4), partners.rows(rng, 3, number=4)
    (array([0, 2, 0, 2]), array([3, 3, 3, 3]))
    """

    def __init__(self, num_items, utterances=2):
        if utterances < 2:
            raise ValueError(
                f"utterances={utterances}: crops of one utterance alone are what there "
                "is without clusters; give 2 or more"
            )
        self.utterances = utterances
        self.order = torch.arange(num_items).share_memory_()
        self.first = torch.arange(num_items).share_memory_()
        self.size = torch.ones(num_items, dtype=torch.int64).share_memory_()

    def set_labels(self, labels):
        """Takes new clusters of all utterances, int64 (N,); negative: none."""
        labels = np.array(labels, dtype=np.int64)
        if labels.shape != self.order.shape:
            raise ValueError(
                f"{len(labels)} labels for {len(self.order)} training utterances"
            )
        alone = labels < 0
        labels[alone] = labels.max() + 1 + np.arange(alone.sum())
        order = np.argsort(labels, kind="stable")
        _, numbers, sizes = np.unique(labels, return_inverse=True, return_counts=True)
        first = np.concatenate(([0], np.cumsum(sizes)[:-1]))
        for kept, new in (
            (self.order, order),
            (self.first, first[numbers]),
            (self.size, sizes[numbers]),
        ):
            kept.copy_(torch.from_numpy(new))

    def rows(self, rng, item, number):
        """Draws the utterance of each of ``number`` crops, the utterance itself first.

        Returns rows in the manifest, int64 (number,).
        """
        first, size = int(self.first[item]), int(self.size[item])
        members = self.order[first : first + size].numpy()
        others = members[members != item]
        drawn = rng.choice(others, min(self.utterances - 1, len(others)), replace=False)
        return np.resize(np.concatenate(([item], drawn)), number)


class ClusterCrops:
    """Gives the crops clusters from an epoch on; for the YAML's ``on_epoch_start``.

    Clusters come from a file, or the training utterances are embedded and clustered
    every so many epochs; the labels are kept in ``<output_folder>/clusters``, where a
    resumed run reads them again.

    Arguments
    ---------
    first_epoch : float
        First epoch (from 1) with clusters, rounded up.
    utterances : int
        Utterances that the crops of one are drawn from, itself included.
    labels_file : str or path, optional
        ``labels.csv`` with columns ID and label: fixed clusters, and nothing else is
        clustered.
    clusterer : callable, optional
        Called with ``num_clusters``, makes what is called with embeddings (N, D): a
        class of :mod:`speechbrain_dino.clustering.clusterers`.
    num_clusters : int or callable
        Number of clusters; or a schedule of it, a function of the epochs that are
        finished (progressive clustering).
    every : int
        Epochs between two clusterings.
    """

    def __init__(
        self,
        first_epoch,
        utterances=2,
        labels_file=None,
        clusterer=None,
        num_clusters=None,
        every=10,
    ):
        if labels_file is None and clusterer is None:
            raise ValueError(
                "ClusterCrops needs labels_file, fixed clusters of a file, or a "
                "clusterer that makes new ones while training"
            )
        self.first_epoch = math.ceil(first_epoch - 1e-6)
        self.utterances = utterances
        self.labels_file = labels_file
        self.clusterer = clusterer
        self.num_clusters = num_clusters
        self.every = every
        self.in_force = None

    def __call__(self, brain, epoch):
        """Applies the clusters of an epoch, before it or, after resuming, within it."""
        dataset = brain.loader.dataset
        if dataset.partners is None:
            dataset.partners = Partners(len(dataset), self.utterances)
        if epoch < self.first_epoch:
            return
        if self.labels_file is not None:
            source = self.labels_file
        else:
            begun = epoch - (epoch - self.first_epoch) % self.every
            source = self._clustered(brain, epoch, begun)
        if source != self.in_force:
            labels = load_labels(source, dataset.manifest.ids)
            dataset.partners.set_labels(labels)
            self.in_force = source
            logger.info(
                "epoch %d: crops of %d utterances of a cluster, %d clusters (%s)",
                epoch,
                self.utterances,
                len(np.unique(labels[labels >= 0])),
                source,
            )

    def _clustered(self, brain, epoch, begun):
        """The labels since the epoch ``begun``; clusters if it begins now."""
        hparams = brain.hparams
        folder = Path(hparams.output_folder) / "clusters" / f"epoch_{begun:04d}"
        source = folder / "labels.csv"
        begins = epoch == begun and brain.step == 0
        if source.is_file() and not begins:
            return source
        manifest = brain.loader.dataset.manifest
        table = embed_to_folder(
            folder.parent / "embeddings",
            manifest,
            brain.embedder(),
            device=str(brain.device),
            batch_seconds=hparams.batch_seconds,
            sample_rate=hparams.sample_rate,
        )
        if if_main_process():
            number = self.num_clusters
            number = round(number(epoch - 1)) if callable(number) else number
            clustering = self.clusterer(num_clusters=number)(np.asarray(table.vectors))
            save_labels(folder, manifest.ids, clustering)
        ddp_barrier()
        return source
