"""Pooled statistics: those that the encoder itself computes, of every known encoder."""

import pytest
import torch
from speechbrain.lobes.models.ResNet import ResNet
from speechbrain.lobes.models.Xvector import Xvector

from speechbrain_dino.models.encoders import LeanECAPA, LResNet34
from speechbrain_dino.models.res2net import Res2Net50
from speechbrain_dino.probing.pooled_tap import PooledTap, embedding_layer_of, submodule

FEATS = torch.randn(3, 60, 80)
SMALL = {"channels": [8, 8, 8, 8, 16], "attention_channels": 4, "se_channels": 4}
ENCODERS = {
    "fc": lambda: LeanECAPA(80, lin_neurons=6, res2net_scale=2, **SMALL),
    "embedding": lambda: LResNet34(80, lin_neurons=6, channels=[4, 4, 4, 8]),
    "blocks.-1": lambda: Xvector(in_channels=80, lin_neurons=6),
    "fc_embed": lambda: ResNet(80, channels=[4, 4, 4, 8], lin_neurons=6),
}


@pytest.mark.parametrize("path", ENCODERS)
def test_the_last_layer_makes_the_embedding_of_what_was_tapped(path):
    encoder = ENCODERS[path]().eval()
    assert embedding_layer_of(encoder) == path
    tap = PooledTap(encoder, path).eval()
    with torch.no_grad():
        both = tap(FEATS, torch.ones(3))
        alone = encoder(FEATS, torch.ones(3)).flatten(1)
        assert tap.embedding_size == 6
        # SpeechBrain's pooling of the x-vector adds a little noise.
        noise = {"atol": 1e-3 if path == "blocks.-1" else 1e-5, "rtol": 1e-5}
        torch.testing.assert_close(both[:, :6], alone, **noise)
        pooled = both[:, 6:]
        layer = submodule(encoder, path)
        if path == "fc":
            rebuilt = layer(pooled[:, :, None]).flatten(1)
        elif path == "embedding":
            rebuilt = encoder.embedding_norm(layer(pooled))
        elif path == "fc_embed":
            rebuilt = encoder.norm_embed(layer(pooled))
        else:
            rebuilt = layer(pooled[:, None]).flatten(1)
    torch.testing.assert_close(rebuilt, alone, **noise)


def test_statistics_of_ecapa_are_what_asp_bn_gives():
    encoder = ENCODERS["fc"]().eval()
    outputs = []
    encoder.asp_bn.register_forward_hook(lambda *call: outputs.append(call[-1]))
    with torch.no_grad():
        both = PooledTap(encoder, "fc")(FEATS, torch.ones(3))
    assert both.shape == (3, 6 + 32)
    assert (both[:, 6:] == outputs[0].flatten(1)).all()


def test_other_encoders_and_layers():
    assert embedding_layer_of(Res2Net50(16, channels=[4, 4, 4, 8])) == "embedding"
    encoder = LResNet34(80, channels=[4, 4, 4, 8])
    assert PooledTap(encoder, "embedding").masks_padding
    assert not PooledTap(ENCODERS["fc"](), "fc").masks_padding
    with pytest.raises(ValueError, match=r"no layer 'fc'.*its parts are stem"):
        PooledTap(encoder, "fc")
    with pytest.raises(ValueError, match="no vector per utterance"):
        PooledTap(encoder, "stem_norm")(FEATS, torch.ones(3))
    own = torch.nn.Sequential(torch.nn.Linear(80, 4))
    with pytest.raises(ValueError, match=r"name it with embedding_layer .its .* 0\)"):
        embedding_layer_of(own)


def test_no_hook_is_left_when_the_encoder_fails():
    encoder = ENCODERS["fc"]().eval()
    with pytest.raises(RuntimeError):
        PooledTap(encoder, "fc")(FEATS[:, :, :3], torch.ones(3))
    assert not encoder.fc._forward_pre_hooks
