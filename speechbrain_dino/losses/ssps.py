"""Positives beyond the utterance: targets of another utterance, of a cluster nearby."""

import logging
import math

import torch
import torch.distributed as dist
import torch.nn.functional as F

from speechbrain_dino.losses.device_kmeans import nearest_others, spherical_kmeans
from speechbrain_dino.losses.objective import Objective
from speechbrain_dino.losses.queues import Queue, Store
from speechbrain_dino.utils.distributed import gathered, process_count

logger = logging.getLogger(__name__)


class SSPS(Objective):
    """Self-supervised positive sampling around any objective (Lepage and Dehak 2025).

    Crops of one utterance share speaker and recording; another recording of the same
    speaker would make the better positive. At the start of each epoch the embeddings
    of all training utterances, taken from crops without augmentation, are clustered by
    k-means. The teacher's targets for utterance i are then replaced by those of an
    utterance of the nearest *other* cluster than that of i, if one is among the last
    ``queue_size``; else they stay. Embeddings are collected from the epoch before
    ``first_epoch`` on, which costs one more forward of the encoder for one crop.

    Arguments
    ---------
    embedding_dim, target_dim, num_views : int
        Sizes of the embedding and of what is replaced; views that the teacher sees,
        or the student where there is no teacher.
    of : str
        What is replaced: "outputs" of the teacher (of the student without a teacher);
        "bottleneck" (of a head with ``hand_out``), of which the teacher's prototypes
        make the outputs again, so that the queue holds 256 numbers and not 65536; or
        another layer that the head hands out, such as "projection".
    view : int, optional
        The one view of the student that is replaced, without a teacher; views replaced
        and not are then anchors alike, as in the authors' SimCLR. All if not given.
    neighbors, first_epoch : int, float
        Nearest other clusters to take from, in turn; first epoch (from 1) with other
        positives, rounded up.

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
        view=None,
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
        self.view = view
        if view is not None and (of != "outputs" or not 0 <= view < num_views):
            raise ValueError(
                f"view is {view} and of {of!r}; one of the {num_views} views is "
                "replaced as a whole, of: outputs"
            )
        self.embedding_dim = embedding_dim
        self.num_clusters = num_clusters
        self.neighbors = neighbors
        self.first_epoch = math.ceil(first_epoch - 1e-6)
        self.iterations = iterations
        self.seed = seed
        self.epoch = 0
        self.clustered_for = 0  # the epoch that the clusters belong to
        held = num_views if view is None else 1
        self.queue = Queue(queue_size, targets=(held, target_dim))
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
        stored = embeddings.float().any(1).nonzero().flatten()
        if len(stored) < 2 * self.num_clusters:
            logger.warning(
                "SSPS: %d embeddings are stored and %d clusters are wanted; this epoch "
                "has no other positives",
                len(stored),
                self.num_clusters,
            )
            return
        clusters, centroids = spherical_kmeans(
            embeddings[stored], self.num_clusters, self.iterations, self.seed
        )
        self.assignments.fill_(-1)
        self.assignments[stored] = clusters
        filled = torch.bincount(clusters, minlength=self.num_clusters) > 0
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
            has_other, place = self.other(views.items)
            others = self.queue.targets[place].transpose(0, 1).to(own.dtype)
            targets = torch.where(has_other[None, :, None], others, own)
            changed = self._with(views, targets)
            self.share_found.copy_(has_other.float().mean())
        result = self.objective(changed)
        if self.training and self.wants_reference():
            self._remember(views, own)
        metrics = {**result.metrics, "positives_found": self.share_found}
        return result._replace(metrics=metrics)

    def other(self, items):
        """Whether items (B,) have another utterance, and its place in the queue."""
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
        targets = views.pick(self._side(views), self.of)
        if self.view is None:
            return targets
        if views.teacher is not None:
            raise ValueError(
                f"view is {self.view}, and there is a teacher, whose views are all "
                "replaced: leave view out, or the teacher"
            )
        return targets[self.view : self.view + 1]

    def _with(self, views, targets):
        if self.of == "bottleneck":
            return views._replace(
                teacher=views.project(targets).to(views.teacher.dtype)
            )
        if self.view is not None:
            before, after = views.student[: self.view], views.student[self.view + 1 :]
            return views._replace(student=torch.cat([before, targets, after]))
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
        """Restores that epoch."""
        self.clustered_for = state["clustered_for"]
