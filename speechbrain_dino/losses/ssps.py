"""Positives beyond the utterance: targets of another utterance, of a cluster nearby."""

import logging
import math

import torch
import torch.distributed as dist
import torch.nn.functional as F

from speechbrain_dino.losses.objective import Objective
from speechbrain_dino.losses.queues import Queue, Store
from speechbrain_dino.utils.distributed import gathered, process_count

logger = logging.getLogger(__name__)


class SSPS(Objective):
    """Self-supervised positive sampling around any objective (Lepage and Dehak 2025).

    Crops of one utterance share speaker and recording; another recording of the same
    speaker would make the better positive. At the start of each epoch the embeddings
    of all training utterances, taken from crops without augmentation, are clustered by
    k-means. What the teacher says of utterance i is then replaced by what it said of an
    utterance of the nearest *other* cluster than that of i, if one is among the last
    ``queue_size``; else it stays.

    The embeddings are collected from the epoch before ``first_epoch`` on. They cost one
    more forward of the encoder for one crop.

    Arguments
    ---------
    objective : torch.nn.Module
        The objective.
    embedding_dim : int
        Size D of the embedding.
    target_dim : int
        Size of what is replaced.
    num_views : int
        Number of views that the teacher sees, or the student where there is no teacher.
    of : str
        What is replaced: "outputs" of the teacher (of the student without a teacher);
        "bottleneck" (of a head with ``hand_out``), of which the teacher's prototypes
        make the outputs again, so that the queue holds 256 numbers and not 65536; or
        another layer that the head hands out, such as "projection".
    queue_size : int
        Number of utterances whose targets are kept.
    num_clusters : int
        Number of clusters.
    neighbors : int
        Number of nearest other clusters to take from, in turn.
    first_epoch : float
        First epoch (from 1) with other positives, rounded up.
    iterations : int
        Iterations of k-means.
    seed : int
        Seed of k-means.

    Example
    -------
    >>> from speechbrain_dino.losses.dino import DINO
    >>> objective = SSPS(DINO(16), embedding_dim=8, target_dim=16, num_views=2)
    >>> objective.begin_epoch(80)
    >>> objective.wants_reference()  # for the clusters of epoch 81
    True
    """

    def __init__(
        self,
        objective,
        embedding_dim,
        target_dim,
        num_views,
        of="outputs",
        queue_size=25000,
        num_clusters=25000,
        neighbors=1,
        first_epoch=81,
        iterations=10,
        seed=1234,
    ):
        super().__init__()
        self.objective = objective
        self.of = of
        self.embedding_dim = embedding_dim
        self.num_clusters = num_clusters
        self.neighbors = neighbors
        self.first_epoch = math.ceil(first_epoch - 1e-6)
        self.iterations = iterations
        self.seed = seed
        self.epoch = 0
        self.clustered_for = 0  # the epoch that the clusters were made for
        self.queue = Queue(queue_size, targets=(num_views, target_dim))
        self.register_buffer("nearby", torch.full((num_clusters, neighbors), -1))
        self.register_buffer("share_found", torch.zeros(()))

    # -- epochs ---------------------------------------------------------------

    def allocate(self, num_items):
        """Makes room for one embedding, and the cluster, of each training utterance."""
        super().allocate(num_items)
        if 2 * self.num_clusters > num_items:
            raise ValueError(
                f"SSPS: num_clusters is {self.num_clusters} and there are {num_items} "
                "training utterances: give half as many clusters at most"
            )
        if len(getattr(self, "assignments", ())) == num_items:
            return
        device = self.share_found.device
        store = Store(num_items, embeddings=((self.embedding_dim,), torch.float16))
        self.references = store.to(device)
        self.register_buffer("assignments", torch.full((num_items,), -1, device=device))

    def wants_reference(self):
        """Whether this epoch collects embeddings, for the clusters of the next."""
        return self.epoch >= self.first_epoch - 1

    def begin_epoch(self, epoch):
        """Makes the clusters of an epoch, unless they came with the checkpoint."""
        super().begin_epoch(epoch)
        self.epoch = epoch
        if epoch < self.first_epoch or epoch == self.clustered_for:
            return
        self.clustered_for = epoch
        self.settle()
        embeddings = self.references.embeddings
        known = embeddings.float().any(1).nonzero().flatten()
        if len(known) < 2 * self.num_clusters:
            logger.warning(
                "SSPS: %d embeddings are known and %d clusters are wanted; this epoch "
                "goes without other positives",
                len(known),
                self.num_clusters,
            )
            return
        found, centroids = spherical_kmeans(
            embeddings[known], self.num_clusters, self.iterations, self.seed
        )
        self.assignments.fill_(-1)
        self.assignments[known] = found
        filled = torch.bincount(found, minlength=self.num_clusters) > 0
        self.nearby.copy_(nearest_others(centroids, filled, self.neighbors))
        if process_count() > 1:
            # Sums on a GPU need not come out alike in two processes.
            dist.broadcast(self.assignments, 0)
            dist.broadcast(self.nearby, 0)

    # -- one step -------------------------------------------------------------

    def forward(self, views):
        """The objective's loss with the targets replaced."""
        own = self._targets(views)
        changed = views
        if self.clustered_for == self.epoch > 0:
            found, place = self.other(views.items)
            others = self.queue.targets[place].transpose(0, 1).to(own.dtype)
            targets = torch.where(found[None, :, None], others, own)
            changed = self._with(views, targets)
            self.share_found.copy_(found.float().mean())
        result = self.objective(changed)
        if self.training and self.wants_reference():
            self._remember(views, own)
        metrics = {**result.metrics, "positives_found": self.share_found}
        return result._replace(metrics=metrics)

    def other(self, items):
        """Looks for another utterance, for each of a batch.

        Arguments
        ---------
        items : torch.Tensor
            Rows in the training manifest, int64 (B,).

        Returns
        -------
        found : torch.Tensor
            Whether there is one, bool (B,).
        place : torch.Tensor
            Its place in the queue, int64 (B,).
        """
        queued = self.queue.items
        clusters = self.assignments[items]
        # In turn rather than at random: the same however the batch is shared out.
        turn = items + self.queue.seen
        wanted = self.nearby[clusters.clamp(min=0), turn % self.neighbors]
        wanted = wanted.where(clusters >= 0, -1)
        of_queue = self.assignments[queued.clamp(min=0)].where(queued >= 0, -2)
        match = (of_queue == wanted[:, None]) & (wanted >= 0)[:, None]
        number = match.sum(1)
        nth = turn // self.neighbors % number.clamp(min=1)
        chosen = match & (match.cumsum(1) == nth[:, None] + 1)
        return number > 0, chosen.int().argmax(1)

    def _side(self, views):
        return "student" if views.teacher is None else "teacher"

    def _targets(self, views):
        return views.pick(self._side(views), self.of)

    def _with(self, views, targets):
        if self.of == "bottleneck":
            return views._replace(
                teacher=views.project(targets).to(views.teacher.dtype)
            )
        if self.of == "outputs":
            # Without a teacher the others' outputs become one that gives gradients.
            shared = len(targets) if views.teacher is None else views.shared
            return views._replace(teacher=targets, shared=shared)
        extras = {**views.teacher_extras, self.of: targets}
        return views._replace(teacher_extras=extras)

    def _remember(self, views, targets):
        items = gathered(views.items)
        reference = F.normalize(gathered(views.reference), dim=1)
        good = reference.isfinite().all(1, keepdim=True)
        self.references.write(items, embeddings=reference.where(good, 0))
        targets = gathered(targets.detach().transpose(0, 1))
        self.queue.push(items, targets=targets)

    def get_extra_state(self):
        """The epoch that the clusters belong to."""
        return {"clustered_for": self.clustered_for}

    def set_extra_state(self, state):
        """Takes it back."""
        self.clustered_for = state["clustered_for"]


@torch.no_grad()
def spherical_kmeans(embeddings, num_clusters, iterations=10, seed=0, block=2**27):
    """Clusters embeddings by cosine, on the device that they are on.

    Starts from embeddings drawn at random; a cluster that loses all its members keeps
    its centroid.

    Arguments
    ---------
    embeddings : torch.Tensor
        (N, D), of any length and floating-point type.
    num_clusters : int
        Number of clusters K, at most N.
    iterations : int
        Passes over the embeddings.
    seed : int
        Chooses the first centroids.
    block : int
        Similarities that are held at a time.

    Returns
    -------
    assignments : torch.Tensor
        Cluster of each embedding, int64 (N,).
    centroids : torch.Tensor
        Unit vectors (K, D), float32.

    Raises
    ------
    ValueError
        If there are fewer embeddings than clusters.

    Example
    -------
    >>> x = torch.tensor([[1.0, 0.0], [2.0, 0.1], [0.0, 1.0], [0.1, 3.0]])
    >>> found, _ = spherical_kmeans(x, 2, seed=1)
    >>> bool(found[0] == found[1] and found[2] == found[3] and found[0] != found[2])
    True
    """
    if not 1 <= num_clusters <= len(embeddings):
        raise ValueError(
            f"{num_clusters} clusters of {len(embeddings)} embeddings: give at most as "
            "many clusters as there are embeddings"
        )
    drawn = torch.randperm(
        len(embeddings), generator=torch.Generator().manual_seed(seed)
    )
    first = drawn[:num_clusters].to(embeddings.device)
    centroids = F.normalize(embeddings[first].float(), dim=1)
    rows = max(block // num_clusters, 1)
    for _ in range(iterations):
        assignments = _nearest(embeddings, centroids, rows)
        sums = torch.zeros_like(centroids)
        for part, found in zip(embeddings.split(rows), assignments.split(rows)):
            sums.index_add_(0, found, F.normalize(part.float(), dim=1))
        filled = torch.bincount(assignments, minlength=num_clusters) > 0
        centroids = torch.where(filled[:, None], F.normalize(sums, dim=1), centroids)
    return _nearest(embeddings, centroids, rows), centroids


def _nearest(embeddings, centroids, rows):
    # The length of an embedding does not change which centroid is nearest.
    parts = embeddings.split(rows)
    return torch.cat([(part.float() @ centroids.T).argmax(1) for part in parts])


@torch.no_grad()
def nearest_others(centroids, usable, number=1, block=2**27):
    """The nearest other clusters of each cluster, by cosine.

    Arguments
    ---------
    centroids : torch.Tensor
        Unit vectors (K, D).
    usable : torch.Tensor
        Which clusters may be chosen, bool (K,).
    number : int
        How many to give.
    block : int
        Similarities that are held at a time.

    Returns
    -------
    torch.Tensor
        int64 (K, number), nearest first; -1 where there is none left.

    Example
    -------
    >>> centroids = torch.nn.functional.normalize(
    ...     torch.tensor([[1.0, 0.0], [1.0, 0.5], [0.0, 1.0]])
    ... )
    >>> nearest_others(centroids, torch.tensor([True, True, True])).flatten()
    tensor([1, 0, 1])
    """
    found = []
    rows = max(block // len(centroids), 1)
    for first in range(0, len(centroids), rows):
        cosines = centroids[first : first + rows] @ centroids.T
        cosines.diagonal(offset=first).fill_(-2)
        cosines.masked_fill_(~usable, -2)
        best, clusters = cosines.topk(min(number, len(centroids)), dim=1)
        found.append(clusters.where(best > -1.5, -1))
    return torch.cat(found)
