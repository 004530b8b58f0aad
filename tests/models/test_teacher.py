"""The teacher is a copy that follows by the closed form of a moving average."""

import pytest
import torch
from torch import nn

from speechbrain_dino.models.modes import unwrapped
from speechbrain_dino.models.teacher import Teacher


def network():
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def move(student):
    for parameter in student.parameters():
        parameter.data.add_(torch.randn_like(parameter))


def test_teacher_starts_equal_frozen_and_apart():
    student = network()
    student(torch.randn(5, 3)).sum().backward()
    teacher = Teacher(student)
    for own, other in zip(teacher.branch.parameters(), student.parameters()):
        assert torch.equal(own, other) and own.data_ptr() != other.data_ptr()
        assert not own.requires_grad and own.grad is None
        assert other.requires_grad and other.grad is not None
    assert not teacher(torch.randn(5, 3)).requires_grad


def test_dropout_is_the_students_alone():
    student = nn.Sequential(nn.Linear(3, 50), nn.Dropout(0.5), nn.Dropout1d(0.5))
    teacher = Teacher(student)
    assert teacher.training and [layer.p for layer in student[1:]] == [0.5, 0.5]
    x = torch.randn(4, 3)
    torch.testing.assert_close(teacher(x), student[0](x))


def test_update_follows_the_closed_form():
    student = network()
    teacher = Teacher(student)
    expected = [p.detach().double().clone() for p in student.parameters()]
    for momentum in (0.0, 0.5, 0.996, 1.0):
        move(student)
        teacher.update(student, momentum)
        expected = [
            momentum * e + (1 - momentum) * p.detach().double()
            for e, p in zip(expected, student.parameters())
        ]
    for own, value in zip(teacher.branch.parameters(), expected):
        torch.testing.assert_close(own.double(), value, rtol=1e-5, atol=1e-6)


def test_update_handles_weights_of_several_types():
    student = nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2, dtype=torch.float64)])
    teacher = Teacher(student)
    before = [p.clone() for p in teacher.branch.parameters()]
    move(student)
    teacher.update(student, 0.75)
    for own, old, new in zip(teacher.branch.parameters(), before, student.parameters()):
        assert own.dtype == new.dtype
        torch.testing.assert_close(own, 0.75 * old + 0.25 * new.detach())


def test_momentum_one_leaves_every_bit():
    student = network()
    teacher = Teacher(student)
    before = [p.clone() for p in teacher.branch.parameters()]
    move(student)
    teacher.update(student, 1.0)
    assert all(map(torch.equal, before, teacher.branch.parameters()))


def test_a_copy_that_shares_memory_is_refused():
    class Stubborn(nn.Linear):
        def __deepcopy__(self, memo):
            return self

    class HalfShared(nn.Module):
        def __init__(self):
            super().__init__()
            self.own = nn.Linear(2, 2)
            self.stubborn = Stubborn(2, 2)

    with pytest.raises(ValueError, match=r"share the memory of stubborn\.weight"):
        Teacher(HalfShared())


def test_own_statistics_are_not_the_students():
    student = network()
    teacher = Teacher(student, buffers="own")
    student(torch.randn(50, 3) + 5)
    teacher.update(student, 0.5)
    assert teacher.branch[1].num_batches_tracked == 0
    teacher(torch.randn(50, 3) - 5)
    assert teacher.branch.training and teacher.branch[1].num_batches_tracked == 1
    assert not torch.equal(teacher.branch[1].running_mean, student[1].running_mean)


def test_students_statistics_are_copied_at_each_update():
    student = network()
    teacher = Teacher(student, buffers="student").train()
    student(torch.randn(50, 3) + 5)
    teacher.update(student, 0.5)
    teacher(torch.randn(50, 3) - 5)
    assert not teacher.branch.training
    for own, other in zip(teacher.branch.buffers(), student.buffers()):
        assert torch.equal(own, other) and own.data_ptr() != other.data_ptr()


def test_averaged_statistics_follow_the_student_as_the_weights_do():
    student = network()
    teacher = Teacher(student, buffers="averaged").train()
    start = teacher.branch[1].running_mean.clone()
    student(torch.randn(50, 3) + 5)
    teacher.update(student, 0.75)
    teacher(torch.randn(50, 3) - 5)
    expected = 0.75 * start + 0.25 * student[1].running_mean
    torch.testing.assert_close(teacher.branch[1].running_mean, expected)
    assert teacher.branch[1].num_batches_tracked == 1


@pytest.mark.parametrize(
    "buffers, follows", [("own", True), ("student", False), ("averaged", False)]
)
def test_mode_follows_train_and_eval(buffers, follows):
    teacher = Teacher(network(), buffers=buffers)
    assert teacher.branch[1].training is follows
    assert teacher.eval().branch[1].training is False
    assert teacher.train().branch[1].training is follows


def test_wrapped_students_are_unwrapped():
    student = network()
    compiled = torch.compile(student)
    teacher = Teacher(compiled)
    assert list(teacher.branch.state_dict()) == list(student.state_dict())
    move(student)
    teacher.update(compiled, 0.0)
    assert teacher.distance(compiled) < 1e-6


@pytest.mark.distributed
def test_distributed_students_are_unwrapped(tmp_path):
    torch.distributed.init_process_group(
        "gloo", f"file://{tmp_path}/store", rank=0, world_size=1
    )
    try:
        student = network()
        assert unwrapped(nn.parallel.DistributedDataParallel(student)) is student
    finally:
        torch.distributed.destroy_process_group()


def test_distance_is_relative_length_of_the_difference():
    student = network()
    teacher = Teacher(student)
    assert teacher.distance(student) == 0
    for parameter in student.parameters():
        parameter.data.mul_(4.0)
    assert teacher.distance(student).item() == pytest.approx(0.75)


def test_state_dict_comes_back():
    student = network()
    teacher, other = Teacher(student), Teacher(network())
    move(student)
    teacher.update(student, 0.3)
    teacher(torch.randn(9, 3))
    other.load_state_dict(teacher.state_dict())
    for name, value in teacher.state_dict().items():
        assert torch.equal(other.state_dict()[name], value)


def test_wrong_use_is_named():
    student = network()
    with pytest.raises(ValueError, match=r"expected one of \('own', 'student', '"):
        Teacher(student, buffers="both")
    teacher = Teacher(student)
    for momentum in (-0.1, 1.5, float("nan")):
        with pytest.raises(ValueError, match="the teacher's momentum is"):
            teacher.update(student, momentum)
    with pytest.raises(ValueError, match="differ in number or shape"):
        teacher.update(nn.Linear(3, 3), 0.9)


def test_a_part_may_be_the_students():
    student = nn.ModuleDict({"body": network(), "head": nn.Linear(2, 3)})
    teacher = Teacher(student, same="head")
    body = teacher.branch["body"][0].weight.clone()
    move(student)
    teacher.update(student, 0.75)
    for own, other in zip(
        teacher.branch["head"].parameters(), student["head"].parameters()
    ):
        assert torch.equal(own, other) and own.data_ptr() != other.data_ptr()
    moved = 0.75 * body + 0.25 * student["body"][0].weight.detach()
    torch.testing.assert_close(teacher.branch["body"][0].weight, moved)
    with pytest.raises(ValueError, match="same is 'prototypes'"):
        Teacher(student, same="prototypes")
