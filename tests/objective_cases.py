"""All objectives with views that fit them, for what must hold for each."""

import torch

from speechbrain_dino.losses.combine import Sum
from speechbrain_dino.losses.contrastive import MoCo, NTXent
from speechbrain_dino.losses.dino import DINO, SDPN
from speechbrain_dino.losses.non_contrastive import BYOL, VICReg
from speechbrain_dino.losses.regularizers import (
    CosineDistance,
    DimensionRegularizer,
    KoLeo,
    MeanEntropy,
)
from speechbrain_dino.losses.ssps import SSPS
from speechbrain_dino.losses.views import Views

K, D, E, ITEMS = 12, 6, 20, 40


def _ssps(objective, num_views=2, **settings):
    loss = SSPS(
        objective,
        embedding_dim=D,
        target_dim=K,
        num_views=num_views,
        queue_size=30,
        num_clusters=4,
        first_epoch=2,
        **settings,
    )
    loss.allocate(ITEMS)
    return loss


OBJECTIVES = {
    "dino": lambda: DINO(K),
    "dino_sinkhorn": lambda: DINO(K, centering="sinkhorn"),
    "sdpn": lambda: SDPN(K),
    "ntxent": lambda: NTXent(0.2, margin=0.1),
    "ntxent_group": lambda: NTXent(0.2, group=2),
    "moco": lambda: MoCo(K, queue_size=20, temp=0.2),
    "byol": BYOL,
    "vicreg": VICReg,
    "koleo": KoLeo,
    "koleo_group": lambda: KoLeo(group=2),
    "cosine": CosineDistance,
    "mean_entropy": MeanEntropy,
    "rdino": DimensionRegularizer,
    "sum": lambda: Sum(
        dino=DINO(K), koleo=KoLeo(), cosine=CosineDistance(), koleo_weight=0.1
    ),
    "ssps": lambda: _ssps(DINO(K)),
}
WITHOUT_TEACHER = {
    name: OBJECTIVES[name]
    for name in ("ntxent", "ntxent_group", "vicreg", "koleo", "mean_entropy")
} | {
    "ntxent_ssps": lambda: _ssps(NTXent(0.2), num_views=4),
    "sum": lambda: Sum(ntxent=NTXent(0.2), koleo=KoLeo(of="outputs")),
}


def make_views(batch=5, student=4, teacher=2, shared=2, first=0, dtype=None):
    """Random views of the utterances ``first`` ... in float32 or another type."""

    def drawn(views, size):
        return torch.randn(views, batch, size, dtype=dtype)

    return Views(
        student=drawn(student, K),
        teacher=drawn(teacher, K) if teacher else None,
        student_embeddings=drawn(student, D),
        teacher_embeddings=drawn(teacher, D) if teacher else None,
        items=torch.arange(first, first + batch),
        student_extras={"expanded": drawn(student, E), "projection": drawn(student, K)},
        teacher_extras={"expanded": drawn(teacher, E), "projection": drawn(teacher, K)},
        shared=shared,
        reference=drawn(1, D)[0],
    )


def chosen(views, items=None, student=None, teacher=None):
    """The same views with utterances or views taken out or put in another order."""

    def taken(value, order):
        if value is None:
            return None
        value = value if order is None else value[order]
        return value if items is None else value[:, items]

    orders = {"student": student, "teacher": teacher}
    changed = {}
    for side, order in orders.items():
        for name in (side, f"{side}_embeddings"):
            changed[name] = taken(getattr(views, name), order)
        extras = getattr(views, f"{side}_extras")
        changed[f"{side}_extras"] = {k: taken(v, order) for k, v in extras.items()}
    if items is not None:
        changed["items"] = views.items[items]
        changed["reference"] = views.reference[items]
    return views._replace(**changed)


def with_gradients(views):
    """Copies that require gradients on the student's side; the views and the leaves."""
    leaves = {
        "student": views.student.clone().requires_grad_(),
        "student_embeddings": views.student_embeddings.clone().requires_grad_(),
    }
    extras = {k: v.clone().requires_grad_() for k, v in views.student_extras.items()}
    return (
        views._replace(**leaves, student_extras=extras),
        [*leaves.values(), *extras.values()],
    )


def gradients(loss, leaves):
    """Gradients of a loss, zeros where it does not depend on a leaf."""
    grads = torch.autograd.grad(loss, leaves, allow_unused=True)
    return [torch.zeros_like(x) if g is None else g for g, x in zip(grads, leaves)]
