"""SSPS: whose targets are taken, and that nothing else changes."""

import copy

import pytest
import torch
import torch.nn.functional as F
from objective_cases import E, K, make_views

from speechbrain_dino.losses.contrastive import NTXent
from speechbrain_dino.losses.dino import DINO
from speechbrain_dino.losses.non_contrastive import BYOL
from speechbrain_dino.losses.ssps import SSPS

SPEAKERS, SESSIONS, UTTERANCES, D = 4, 2, 3, 8
ITEMS = SPEAKERS * SESSIONS * UTTERANCES


def session(items):
    return items // UTTERANCES


def speaker(items):
    return session(items) // SESSIONS


def references():
    """Embeddings (ITEMS, D): sessions of a speaker lie near, speakers far away."""
    items = torch.arange(ITEMS)
    voices = torch.eye(D)[:SPEAKERS]
    rooms = torch.eye(D)[SPEAKERS : SPEAKERS + SESSIONS]
    x = voices[speaker(items)] + 0.4 * rooms[session(items) % SESSIONS]
    return x + 0.02 * torch.randn(ITEMS, D)


def ssps(objective, target_dim=K, **settings):
    settings = {"queue_size": ITEMS, "first_epoch": 2, "num_views": 2, **settings}
    clusters = settings.pop("num_clusters", SPEAKERS * SESSIONS)
    loss = SSPS(objective, D, target_dim, num_clusters=clusters, seed=7, **settings)
    loss.allocate(ITEMS)
    return loss


def views_of(items, embeddings, **changed):
    views = make_views(len(items))
    return views._replace(items=items, reference=embeddings[items], **changed)


def one_epoch(loss, embeddings, epoch, **changed):
    """All utterances in two batches; the targets that were stored, by item."""
    loss.begin_epoch(epoch)
    stored = {}
    for items in torch.arange(ITEMS).split(ITEMS // 2):
        views = views_of(items, embeddings, **changed)
        loss(views)
        stored |= {int(i): views.teacher[:, b] for b, i in enumerate(items)}
    loss.settle()
    return stored


def seeded(loss):
    """K-means begun with one utterance of each session, that it cannot go wrong."""
    start = torch.arange(0, ITEMS, UTTERANCES)
    rest = torch.tensor([i for i in range(ITEMS) if i not in start])
    return lambda *args, **kwargs: torch.cat([start, rest])


@pytest.fixture
def sessions_as_clusters(monkeypatch):
    monkeypatch.setattr(torch, "randperm", seeded(None))


def test_targets_come_from_another_session_of_the_speaker(sessions_as_clusters):
    loss, embeddings = ssps(DINO(K)), references()
    stored = one_epoch(loss, embeddings, epoch=1)
    loss.begin_epoch(2)
    items = torch.arange(ITEMS)
    has_other, place = loss.other(items)
    others = loss.queue.items[place]
    assert has_other.all()
    assert (speaker(others) == speaker(items)).all()
    assert (session(others) != session(items)).all()

    views = views_of(torch.tensor([0, 7, 20]), embeddings)
    inner = copy.deepcopy(loss.objective)
    _, place = loss.other(views.items)
    replaced = [stored[int(i)] for i in loss.queue.items[place]]
    expected = inner(views._replace(teacher=torch.stack(replaced, dim=1)))
    result = loss(views)
    torch.testing.assert_close(result.loss, expected.loss)
    assert result.metrics["positives_found"] == 1


def test_own_targets_stay_where_none_is_found(sessions_as_clusters):
    loss, embeddings = ssps(DINO(K), queue_size=UTTERANCES), references()
    one_epoch(loss, embeddings, epoch=1)
    loss.begin_epoch(2)
    last = torch.arange(ITEMS - UTTERANCES, ITEMS)  # what the queue holds
    items = torch.tensor([0, ITEMS - UTTERANCES - 1, ITEMS - 1])
    has_other, place = loss.other(items)
    # Only the other session of the last speaker finds one.
    assert has_other.tolist() == [False, True, False]
    assert int(loss.queue.items[place[1]]) in last.tolist()
    views = views_of(items, embeddings)
    inner = copy.deepcopy(loss.objective)
    teacher = views.teacher.clone()
    teacher[:, 1] = loss.queue.targets[place[1]]
    result = loss(views)
    expected = inner(views._replace(teacher=teacher))
    torch.testing.assert_close(result.loss, expected.loss)
    assert result.metrics["positives_found"].item() == pytest.approx(1 / 3)


def test_one_view_may_be_replaced(sessions_as_clusters):
    """sslsv's SimCLR: NT-Xent of the first view and, for the second, the others'."""
    loss, embeddings = ssps(NTXent(0.1), view=1), references()
    loss.begin_epoch(1)
    stored = {}
    for items in torch.arange(ITEMS).split(ITEMS // 2):
        views = make_views(ITEMS // 2)._replace(teacher=None, shared=2)
        views = views._replace(
            student=views.student[:2], items=items, reference=embeddings[items]
        )
        loss(views)
        stored |= {int(i): views.student[1, b] for b, i in enumerate(items)}
    loss.settle()
    loss.begin_epoch(2)
    items = torch.tensor([0, 7, 20])
    one, own = torch.randn(2, 3, K)
    one.requires_grad_()
    views = make_views(3)._replace(teacher=None, items=items, shared=2)
    _, place = loss.other(items)
    other = torch.stack([stored[int(i)] for i in loss.queue.items[place]])
    views = views._replace(student=torch.stack([one, own]), reference=embeddings[items])
    result = loss(views).loss
    z = F.normalize(torch.cat([one, other]), dim=1)
    cosines = (z @ z.T / 0.1).fill_diagonal_(-torch.inf)
    expected = F.cross_entropy(cosines, torch.arange(6).roll(3))
    torch.testing.assert_close(result, expected)
    gradients = [torch.autograd.grad(v, one)[0] for v in (result, expected)]
    torch.testing.assert_close(*gradients)


def test_one_view_is_of_outputs_without_a_teacher(sessions_as_clusters):
    for wrong in ({"view": 2}, {"view": 0, "of": "bottleneck"}):
        with pytest.raises(ValueError, match=r"view is \d and of"):
            ssps(NTXent(0.1), **wrong)
    loss = ssps(NTXent(0.1), view=1)
    with pytest.raises(ValueError, match="there is a teacher"):
        loss(views_of(torch.tensor([0, 7]), references()))


def test_all_utterances_of_the_cluster_are_taken_in_turn(sessions_as_clusters):
    loss, embeddings = ssps(DINO(K)), references()
    one_epoch(loss, embeddings, epoch=1)
    loss.begin_epoch(2)
    item, others = torch.tensor([4]), set()
    for _ in range(UTTERANCES):
        _, place = loss.other(item)
        others.add(int(loss.queue.items[place]))
        loss.queue.seen += 1
    assert others == {0, 1, 2}


def test_before_its_epoch_nothing_changes_and_nothing_is_asked_for():
    loss, embeddings = ssps(DINO(K), first_epoch=3), references()
    plain = DINO(K)
    for epoch, wanted in ((1, False), (2, True)):
        loss.begin_epoch(epoch)
        assert loss.wants_reference() is wanted
        views = views_of(torch.arange(5), embeddings)
        assert torch.equal(loss(views).loss, plain(views).loss)
        loss.queue.settle()
        assert int(loss.queue.seen) == 5 * wanted


def test_bottlenecks_are_stored_and_projected_again(sessions_as_clusters):
    prototypes = torch.randn(K, E)

    def project(x):
        return x @ prototypes.T

    loss = ssps(DINO(K), target_dim=E, of="bottleneck")
    embeddings = references()
    bottleneck = {}

    def views(items):
        given = views_of(items, embeddings, project=project)
        layer = given.teacher_extras["expanded"]
        bottleneck.update({int(i): layer[:, b] for b, i in enumerate(items)})
        extras = {"bottleneck": layer}
        return given._replace(teacher=project(layer), teacher_extras=extras)

    loss.begin_epoch(1)
    loss(views(torch.arange(ITEMS)))
    loss.begin_epoch(2)
    given = views(torch.tensor([0, 9]))
    _, place = loss.other(given.items)
    inner = copy.deepcopy(loss.objective)
    others = [bottleneck[int(i)] for i in loss.queue.items[place]]
    expected = inner(given._replace(teacher=project(torch.stack(others, dim=1))))
    torch.testing.assert_close(loss(given).loss, expected.loss)


def test_layers_by_name_and_objectives_without_teacher(sessions_as_clusters):
    embeddings = references()
    byol = ssps(BYOL(), of="projection")
    one_epoch(byol, embeddings, epoch=1)
    byol.begin_epoch(2)
    views = views_of(torch.tensor([0, 9]), embeddings)
    _, place = byol.other(views.items)
    others = byol.queue.targets[place].transpose(0, 1)
    expected = BYOL()(views._replace(teacher_extras={"projection": others}))
    torch.testing.assert_close(byol(views).loss, expected.loss)

    simclr = ssps(NTXent(), num_views=4, queue_size=UTTERANCES)
    none = {"teacher": None, "teacher_embeddings": None, "shared": 0}
    simclr.begin_epoch(1)
    simclr(views_of(torch.arange(ITEMS), embeddings, **none))
    simclr.begin_epoch(2)
    items = torch.tensor([0, ITEMS - UTTERANCES - 1, ITEMS - 1])
    student = torch.randn(4, 3, K, requires_grad=True)
    views = views_of(items, embeddings, **none)._replace(student=student)
    has_other, place = simclr.other(items)
    teacher = torch.where(
        has_other[:, None], simclr.queue.targets[place].transpose(0, 1), student
    )
    expected = NTXent()(views._replace(teacher=teacher, shared=4))
    value = simclr(views)
    torch.testing.assert_close(value.loss, expected.loss)
    # Without another utterance it is SimCLR.
    assert torch.equal(has_other, torch.tensor([False, True, False]))
    alone = views_of(torch.tensor([0, 1]), embeddings, **none)
    torch.testing.assert_close(simclr(alone).loss, NTXent()(alone).loss)


def test_clusters_come_with_the_checkpoint(monkeypatch):
    loss, embeddings = ssps(DINO(K)), references()
    one_epoch(loss, embeddings, epoch=1)
    loss.begin_epoch(2)
    loss(views_of(torch.arange(6), 0.5 * embeddings.flip(0)))  # others by now
    loss.settle()
    resumed = ssps(DINO(K))
    resumed.load_state_dict(copy.deepcopy(loss.state_dict()))
    resumed.begin_epoch(2)
    assert torch.equal(resumed.assignments, loss.assignments)
    assert torch.equal(resumed.nearby, loss.nearby)
    assert (loss.assignments >= 0).all()
    for again in (loss, resumed):
        again.begin_epoch(3)
    assert torch.equal(resumed.assignments, loss.assignments)


def test_embeddings_that_are_not_finite_stay_out():
    loss, embeddings = ssps(DINO(K), num_clusters=4), references()
    embeddings[5] = float("nan")
    one_epoch(loss, embeddings, epoch=1)
    loss.begin_epoch(2)
    assert loss.assignments[5] == -1 and (loss.assignments >= 0).sum() == ITEMS - 1
    has_other, _ = loss.other(torch.tensor([5]))
    assert not has_other.any()
    kept = loss.references.embeddings.float()
    rest = torch.arange(ITEMS) != 5
    torch.testing.assert_close(
        kept[rest], F.normalize(embeddings[rest], dim=1), atol=1e-3, rtol=0
    )


def test_too_many_clusters_are_refused():
    with pytest.raises(ValueError, match="num_clusters is 13 and there are 24"):
        ssps(DINO(K), num_clusters=13)
