"""Encoders with random weights: the seed's, normalized by speech."""

import numpy as np
import pytest
import soundfile
import torch
from test_embedding_folder import make_manifest
from test_pretrained import export

from speechbrain_dino.embeddings.pretrained import load_pretrained
from speechbrain_dino.embeddings.untrained import load_untrained


@pytest.fixture
def manifest(tmp_path):
    return make_manifest(tmp_path, 6)


def test_weights_are_those_of_the_seed_not_the_trained_ones(tmp_path, manifest):
    folder = export(tmp_path / "run", 1)
    trained = load_pretrained(folder).embedder.embedding_model.fc.conv.weight
    state = torch.random.get_rng_state()
    first, again, other = (load_untrained(folder, manifest, s) for s in (5, 5, 6))
    assert (torch.random.get_rng_state() == state).all()
    weights = [m.embedder.embedding_model.fc.conv.weight for m in (first, again, other)]
    assert (weights[0] == weights[1]).all()
    assert not torch.allclose(weights[0], weights[2])
    assert not torch.allclose(weights[0], trained)
    assert first.digest == again.digest != other.digest
    less = load_untrained(folder, manifest.subset([0, 1, 2]), 5)
    assert less.digest != first.digest
    assert first.source.endswith("with random weights, seed 5")


def test_batch_normalization_is_that_of_the_speech(tmp_path, manifest):
    folder = export(tmp_path / "run", 1)
    embedder = load_untrained(folder, manifest, 5).embedder
    assert not any(module.training for module in embedder.modules())
    passed = []
    norm = embedder.embedding_model.asp_bn.norm
    norm.register_forward_hook(
        lambda layer, inputs, output: passed.append((inputs[0], output))
    )
    waves = []
    for utterance in (manifest[row] for row in range(6)):
        wave, _ = soundfile.read(utterance.wav, dtype="float32")
        shortest = int(manifest.lengths.min())
        first = (len(wave) - shortest) // 2
        waves.append(wave[first : first + shortest])
    with torch.no_grad():
        embedder(torch.from_numpy(np.stack(waves)))
    ((given, normalized),) = passed
    torch.testing.assert_close(norm.running_mean, given.mean((0, 2)), atol=2e-2, rtol=0)
    # The statistics of these very crops; deviations of small samples differ a little.
    # In a channel that hardly varies, the 0.02 from above are much by its deviation.
    shift = normalized.mean((0, 2)) * given.std((0, 2))
    torch.testing.assert_close(shift, torch.zeros(32), atol=2e-2, rtol=0)
    varies = given.std((0, 2)) > 0.01
    assert varies.sum() > 20
    deviation = normalized.std((0, 2), unbiased=True)[varies]
    torch.testing.assert_close(deviation, torch.ones_like(deviation), atol=0.2, rtol=0)
