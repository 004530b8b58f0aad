"""From trial lists to metrics: every utterance once, every list."""

import numpy as np
import pytest
import soundfile
import torch
from speechbrain.lobes.features import Fbank

from speechbrain_dino.data.manifest import Manifest
from speechbrain_dino.data.trials import read_trials
from speechbrain_dino.embeddings.extract import Embedder, EmbeddingTable, embed
from speechbrain_dino.models.features import MeanNorm
from speechbrain_dino.scoring.cosine import score_trial_list
from speechbrain_dino.scoring.verify import verify_lists


class Slope(torch.nn.Module):
    """Tells speakers by the variance of each band; counts utterances."""

    embedded = 0

    def forward(self, feats, lengths):
        self.embedded += len(feats)
        return feats.var(dim=1) + 5


@pytest.fixture
def corpus(tmp_path):
    """Three speakers who differ in the band that is switched on and off."""
    rng = np.random.default_rng(0)
    rows, time = [], np.arange(8000) / 16000
    for speaker in range(3):
        for take in range(2):
            tone = np.sin(2 * np.pi * (500 + 1500 * speaker) * time)
            wav = 0.3 * tone * (time % 0.1 > 0.05) + 0.01 * rng.normal(size=8000)
            path = tmp_path / f"{speaker}{take}.wav"
            soundfile.write(path, wav, 16000)
            name = f"id{speaker}/{take}.wav"
            rows.append(
                {
                    "ID": name,
                    "duration": 0.5,
                    "wav": str(path),
                    "start": 0,
                    "stop": 8000,
                }
            )
    rows.append({**rows[0], "ID": "unused.wav"})
    (tmp_path / "easy.txt").write_text(
        "1 id0/0.wav id0/1.wav\n1 id1/0.wav id1/1.wav\n0 id0/0.wav id1/0.wav\n"
        "0 id2/0.wav id1/1.wav\n",
        encoding="utf-8",
    )
    (tmp_path / "wrong.txt").write_text(
        "1 id0/0.wav id1/0.wav\n0 id0/0.wav id0/1.wav\n", encoding="utf-8"
    )
    return Manifest.from_rows(rows), tmp_path


@pytest.fixture
def embedder():
    return Embedder(Fbank(n_mels=40), MeanNorm(), Slope())


def test_lists_are_scored_and_written(corpus, embedder, tmp_path):
    manifest, folder = corpus
    lists = [folder / "easy.txt", folder / "wrong.txt"]
    results = verify_lists(manifest, lists, embedder, tmp_path / "run")
    assert embedder.embedding_model.embedded == 5
    assert list(results) == ["easy", "wrong"]
    assert (results["easy"]["eer"], results["easy"]["trials"]) == (0.0, 4)
    assert results["wrong"]["eer"] == 1.0
    table = embed(manifest, embedder)
    for path in lists:
        metrics, scores = score_trial_list(table, read_trials(path))
        assert metrics == pytest.approx(results[path.stem], abs=1e-6)
        lines = (
            (tmp_path / "run" / "scores" / path.name)
            .read_text(encoding="utf-8")
            .splitlines()
        )
        assert [line.rsplit(" ", 1)[0] for line in lines] == path.read_text(
            encoding="utf-8"
        ).split("\n")[:-1]
        written = [float(line.rsplit(" ", 1)[1]) for line in lines]
        np.testing.assert_allclose(written, scores, atol=1e-6)


def test_the_training_mean_is_subtracted(corpus, embedder):
    manifest, folder = corpus
    table = embed(manifest, embedder)
    results = verify_lists(
        manifest, [folder / "easy.txt"], embedder, train_table=table, batch_seconds=1.0
    )
    centered = table.vectors - table.vectors.mean(axis=0)
    expected, _ = score_trial_list(
        EmbeddingTable(table.ids, centered), read_trials(folder / "easy.txt")
    )
    plain = verify_lists(manifest, [folder / "easy.txt"], embedder)
    assert results["easy"] == pytest.approx(expected, abs=1e-5)
    assert abs(plain["easy"]["eer_threshold"] - expected["eer_threshold"]) > 1e-3


def test_an_unknown_name_is_found_before_any_audio_is_read(corpus, embedder):
    manifest, folder = corpus
    (folder / "bad.txt").write_text(
        "1 id0/0.wav id0/1.wav\n0 id0/0.wav id9/0.wav\n", encoding="utf-8"
    )
    with pytest.raises(ValueError, match=r"bad\.txt:2: .*'id9/0\.wav'"):
        verify_lists(manifest, [folder / "easy.txt", folder / "bad.txt"], embedder)
    assert embedder.embedding_model.embedded == 0


def test_lists_of_one_name_are_refused(corpus, embedder, tmp_path):
    manifest, folder = corpus
    (tmp_path / "b").mkdir()
    other = tmp_path / "b" / "easy.txt"
    other.write_text("1 a b\n", encoding="utf-8")
    with pytest.raises(ValueError, match="two trial lists are called 'easy'"):
        verify_lists(manifest, [folder / "easy.txt", other], embedder)
    with pytest.raises(ValueError, match="no trial list was given"):
        verify_lists(manifest, [], embedder)
