"""Head, prototypes and branch."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from speechbrain_dino.models.branch import Branch
from speechbrain_dino.models.heads import DINOHead, Prototypes, RDINOHead


def small_head(**settings):
    return DINOHead(6, 20, hidden_dim=12, bottleneck_dim=4, **settings)


def test_prototypes_equal_torch_weight_norm_of_gain_one():
    prototypes = Prototypes(5, 9)
    reference = nn.utils.parametrizations.weight_norm(nn.Linear(5, 9, bias=False))
    reference.parametrizations.weight.original0.data.fill_(1.0)
    reference.parametrizations.weight.original1.data.copy_(prototypes.weight.data)
    x, direction = torch.randn(7, 5), torch.randn(7, 9)
    y, expected = prototypes(x), reference(x)
    torch.testing.assert_close(y, expected)
    (y * direction).sum().backward()
    (expected * direction).sum().backward()
    torch.testing.assert_close(
        prototypes.weight.grad, reference.parametrizations.weight.original1.grad
    )


def test_prototype_rows_stay_unit_after_any_step():
    prototypes = Prototypes(5, 9)
    prototypes.weight.data.mul_(torch.rand(9, 1) * 100)
    torch.testing.assert_close(prototypes.unit_rows().norm(dim=1), torch.ones(9))
    assert [name for name, _ in prototypes.named_parameters()] == ["weight"]


@pytest.mark.parametrize("kind", [DINOHead, RDINOHead])
def test_last_layer_is_not_taken_to_half_precision(kind):
    """Each row of prototypes twice, 1e-4 apart: one number in bfloat16."""
    head = kind(6, 20, hidden_dim=12, bottleneck_dim=4, batch_norm=False)
    rows = F.normalize(head.prototypes.weight.data[:10], dim=1)
    head.prototypes.weight.data = torch.cat([rows, rows + 1e-4 * rows.roll(1, 1)])
    with torch.autocast("cpu", torch.bfloat16):
        outputs = head(torch.randn(8, 6))
    bottleneck = outputs["bottleneck"] if kind is RDINOHead else None
    logits = outputs["outputs"] if kind is RDINOHead else outputs
    assert logits.dtype == torch.float32
    assert (logits[:, :10] != logits[:, 10:]).all()
    if bottleneck is not None:
        torch.testing.assert_close(logits, bottleneck @ head.prototypes.unit_rows().T)


def test_head_equals_the_layers_written_out():
    head = small_head()
    first, _, second, _, third = head.mlp
    x = torch.randn(8, 6)
    hidden = F.gelu(second(F.gelu(first(x))))
    bottleneck = third(hidden)
    unit = bottleneck / bottleneck.norm(dim=1, keepdim=True)
    rows = head.prototypes.weight / head.prototypes.weight.norm(dim=1, keepdim=True)
    torch.testing.assert_close(head(x), unit @ rows.T)
    assert head(x).abs().max() <= 1 + 1e-6


def test_paper_head_has_the_papers_sizes_and_no_batch_norm():
    with torch.device("meta"):
        head = DINOHead(256)
    shapes = [tuple(m.weight.shape) for m in head.mlp if isinstance(m, nn.Linear)]
    assert shapes == [(2048, 256), (2048, 2048), (256, 2048)]
    assert head.prototypes.weight.shape == (65536, 256)
    assert not any(isinstance(m, nn.BatchNorm1d) for m in head.modules())


def test_weights_start_as_truncated_normal_and_biases_at_zero():
    head = DINOHead(64, 8, hidden_dim=256, bottleneck_dim=32)
    for layer in head.mlp:
        if isinstance(layer, nn.Linear):
            assert layer.weight.std().item() == pytest.approx(0.02, rel=0.05)
            assert layer.bias.count_nonzero() == 0


def test_batch_norm_stands_between_linear_and_gelu():
    kinds = [type(m).__name__ for m in small_head(batch_norm=True).mlp]
    assert kinds == ["Linear", "BatchNorm1d", "GELU"] * 2 + ["Linear"]


def test_one_layer_is_one_linear():
    assert [type(m) for m in small_head(num_layers=1).mlp] == [nn.Linear]
    with pytest.raises(ValueError, match="num_layers is 0"):
        small_head(num_layers=0)


@pytest.mark.parametrize("scale", [0.0, 1e-20, 1e10])
def test_normalization_survives_autocast_at_any_scale(scale):
    head = small_head()
    head.mlp[-1].bias.data.fill_(0.01 * scale)
    x = (torch.randn(8, 6) * scale).requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = head(x)
    logits.float().sum().backward()
    assert logits.isfinite().all() and x.grad.isfinite().all()
    assert logits.float().abs().max() <= 1.01


def test_copied_head_is_equal_and_apart():
    head = small_head()
    other = copy.deepcopy(head)
    x = torch.randn(8, 6)
    assert torch.equal(head(x), other(x))
    before = other(x)
    head.prototypes.weight.data.neg_()
    assert torch.equal(other(x), before)


def test_normalized_layer_is_handed_out_on_request():
    head = small_head(hand_out=True)
    x = torch.randn(8, 6)
    outputs = head(x)
    torch.testing.assert_close(outputs["bottleneck"].norm(dim=1), torch.ones(8))
    torch.testing.assert_close(
        outputs["outputs"], head.prototypes(outputs["bottleneck"])
    )
    plain = small_head()
    plain.load_state_dict(head.state_dict())
    assert torch.equal(plain(x), outputs["outputs"])


def test_rdino_head_equals_the_layers_written_out():
    head = RDINOHead(6, 20, hidden_dim=12, expanded_dim=30, bottleneck_dim=4)
    kinds = [type(m).__name__ for m in head.mlp]
    assert kinds == ["Linear", "BatchNorm1d", "GELU"] * 2 + ["Linear"]
    x = torch.randn(8, 6)
    outputs = head.eval()(x)
    wide = head.mlp(x)
    bottleneck = F.normalize(head.bottleneck(wide), dim=1)
    torch.testing.assert_close(outputs["expanded"], wide)
    torch.testing.assert_close(outputs["bottleneck"], bottleneck)
    torch.testing.assert_close(
        outputs["outputs"], bottleneck @ head.prototypes.unit_rows().T
    )
    with torch.device("meta"):
        paper = RDINOHead(512)
    assert paper.bottleneck.weight.shape == (256, 8192)
    assert paper.prototypes.weight.shape == (65536, 256)


class Pooling(nn.Module):
    """Counts its calls; keeps the middle axis as SpeechBrain's ECAPA does."""

    def __init__(self, keepdim):
        super().__init__()
        self.keepdim = keepdim
        self.shapes = []

    def forward(self, feats):
        self.shapes.append(tuple(feats.shape))
        return feats.mean(1, keepdim=self.keepdim)


@pytest.mark.parametrize("keepdim", [True, False])
def test_branch_calls_the_encoder_once_a_length_and_keeps_the_order(keepdim):
    branch = Branch(Pooling(keepdim), small_head())
    long, short = torch.randn(4, 10, 6), torch.randn(8, 5, 6)
    embeddings, logits = branch([long, short])
    expected = torch.cat([long.mean(1), short.mean(1)])
    assert branch.encoder.shapes == [(4, 10, 6), (8, 5, 6)]
    torch.testing.assert_close(embeddings, expected)
    torch.testing.assert_close(logits, branch.head(expected))


def test_branch_names_an_encoder_without_pooling():
    with pytest.raises(ValueError, match="does it pool over time"):
        Branch(nn.Identity(), small_head())([torch.randn(4, 10, 6)])


@pytest.mark.parametrize("head", [small_head(), RDINOHead(6, 8, 16, 12, 4)])
def test_the_head_may_see_the_crops_of_each_length_apart(head):
    norm = nn.BatchNorm1d(6, affine=False)
    branch = Branch(Pooling(False), nn.Sequential(norm, head.eval()), True)
    long, short = torch.randn(4, 10, 6), 5 + torch.randn(8, 5, 6)
    embeddings, outputs = branch([long, short])
    torch.testing.assert_close(embeddings, torch.cat([long.mean(1), short.mean(1)]))
    apart = [head(norm(part.mean(1))) for part in (long, short)]
    if isinstance(outputs, dict):
        assert list(outputs) == ["outputs", "expanded", "bottleneck"]
        for name, value in outputs.items():
            expected = torch.cat([part[name] for part in apart])
            torch.testing.assert_close(value, expected)
    else:
        torch.testing.assert_close(outputs, torch.cat(apart))
