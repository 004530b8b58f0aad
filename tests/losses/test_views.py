"""What is handed to objectives."""

import itertools

import pytest
import torch

from speechbrain_dino.losses.views import Views


@pytest.mark.parametrize(
    "student, teacher, shared", [(2, 2, 2), (6, 2, 2), (4, 1, 0), (3, 2, 0), (4, 0, 0)]
)
def test_pairs_of_one_and_the_same_crop_are_left_out(student, teacher, shared):
    views = Views(
        torch.randn(student, 5, 3),
        torch.randn(teacher, 5, 3) if teacher else None,
        shared=shared,
    )
    compared = teacher or student
    same = shared if teacher else student
    pairs = [
        (s, t)
        for s, t in itertools.product(range(student), range(compared))
        if not (s == t and t < same)
    ]
    values = torch.randn(student, 5, compared)
    expected = torch.stack([values[s, :, t] for s, t in pairs]).mean()
    torch.testing.assert_close(views.mean_of_pairs(values), expected)
    torch.testing.assert_close(views.mean_of_pairs(values.mean(1)), expected)
    assert views.different().nonzero().tolist() == [list(pair) for pair in pairs]


def test_nothing_to_compare_is_named():
    for views in (
        Views(torch.randn(1, 5, 3)),
        Views(torch.randn(1, 5, 3), torch.randn(1, 5, 3), shared=1),
    ):
        with pytest.raises(ValueError, match="use at least two crops"):
            views.mean_of_pairs(torch.randn(1, 5, 1))


def test_outputs_are_picked_by_name():
    views = Views(torch.zeros(2, 3, 4), student_extras={"wide": torch.ones(2, 3, 9)})
    assert views.pick("student", "outputs") is views.student
    assert views.pick("student", "wide").shape == (2, 3, 9)
    with pytest.raises(ValueError, match=r"'embeddings' of the stu.*'outputs', 'wide'"):
        views.pick("student", "embeddings")
    with pytest.raises(ValueError, match=r"'outputs' of the teacher, .* nothing"):
        views.pick("teacher", "outputs")


def test_types_and_gradients_change_everywhere_but_in_numbers():
    half = torch.randn(2, 3, 4, dtype=torch.bfloat16, requires_grad=True)
    project = torch.nn.Identity()
    views = Views(
        half,
        student_extras={"wide": half * 2},
        items=torch.arange(3),
        shared=2,
        project=project,
    )
    wide, still = views.float(), views.detach()
    assert wide.student.dtype == wide.student_extras["wide"].dtype == torch.float32
    assert wide.items.dtype == torch.int64 and wide.student.requires_grad
    assert not still.student.requires_grad
    assert not still.student_extras["wide"].requires_grad
    assert (wide.shared, wide.project, wide.teacher) == (2, project, None)
