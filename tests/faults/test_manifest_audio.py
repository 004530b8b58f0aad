"""A manifest's audio is checked and converted as that of a folder is."""

import codecs

import numpy as np
import pytest
import soundfile as sf
import soxr
from audio_files import write

from speechbrain_dino.clustering.labels import load_labels
from speechbrain_dino.corpora.usable import usable_utterances
from speechbrain_dino.corpora.utterances import find_audio, find_utterances
from speechbrain_dino.data.audio import read_utterance
from speechbrain_dino.data.crops import MultiCropDataset
from speechbrain_dino.data.manifest import Manifest
from speechbrain_dino.runs.cluster import read_truth

RATE = 16000


def speech(seconds=2.0, seed=0):
    """Noise below 3 kHz, which 8 kHz hold as well, float64 (T,)."""
    rng = np.random.default_rng(seed)
    narrow = soxr.resample(rng.uniform(-0.5, 0.5, round(seconds * 6000)), 6000, RATE)
    return narrow[: round(seconds * RATE)]


def at_rate(path, samples, rate, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    sf.write(path, soxr.resample(samples, RATE, rate), rate, **options)
    return str(path)


def row(name, wav, start, stop, duration, **more):
    about = {"ID": name, "duration": duration, "wav": str(wav), "start": start}
    return about | {"stop": stop} | more


def likeness(utterance, truth):
    samples = read_utterance(utterance).astype(float)
    assert abs(len(samples) - len(truth)) <= 2
    length = min(len(samples), len(truth))
    return np.corrcoef(samples[:length], truth[:length])[0, 1]


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000])
@pytest.mark.parametrize("counts", ["the file's samples", "the model's samples"])
def test_another_rate(tmp_path, rate, counts):
    truth = speech(3.0)
    wav = at_rate(tmp_path / "a.wav", truth, rate)
    positions = rate if counts == "the file's samples" else RATE
    rows = [
        row("whole", wav, 0, 3 * positions, 3.0),
        row("part", wav, positions // 2, 2 * positions, 1.5),
    ]
    Manifest.from_rows(rows).to_csv(tmp_path / "m.csv")
    manifest = find_utterances(tmp_path / "m.csv", tmp_path / "save")
    assert list(manifest.ids) == ["whole", "part"]
    assert likeness(manifest[0], truth) > 0.99
    assert likeness(manifest[1], truth[RATE // 2 : 2 * RATE]) > 0.99


@pytest.mark.parametrize("rate", [8000, 44100])
def test_chunks_with_the_duration_of_the_recording(tmp_path, rate):
    # As SpeechBrain's voxceleb_prepare writes them.
    truth = speech(20.0)
    wav = at_rate(tmp_path / "a.wav", truth, rate)
    given = [row("a", wav, 3 * rate, 6 * rate, 20.0)]
    manifest = find_utterances(Manifest.from_rows(given), tmp_path / "save")
    assert likeness(manifest[0], truth[3 * RATE : 6 * RATE]) > 0.99


@pytest.mark.parametrize("positions", [RATE, 48000])
def test_opus_counts_48_kHz_in_some_programs(tmp_path, positions):
    truth = speech(3.0)
    wav = at_rate(tmp_path / "a.opus", truth, RATE, format="OGG", subtype="OPUS")
    rows = [
        row("whole", wav, 0, 3 * positions, 3.0),
        row("part", wav, positions, 2 * positions, 1.0),
    ]
    audio = usable_utterances(Manifest.from_rows(rows), tmp_path / "save")
    assert audio.left_out == []
    assert likeness(audio.manifest[0], truth) > 0.9
    assert likeness(audio.manifest[1], truth[RATE : 2 * RATE]) > 0.9


def test_runs_of_speech_move_with_the_rate(tmp_path):
    truth = speech(3.0)
    wav = at_rate(tmp_path / "a.wav", truth, 48000)
    given = row(
        "a", wav, 0, 144000, 3.0, speech=np.array([[0, 48000], [96000, 144000]])
    )
    audio = usable_utterances(Manifest.from_rows([given]), tmp_path / "save")
    assert audio.manifest[0].speech.tolist() == [[0, 16000], [32000, 48000]]
    expected = np.concatenate([truth[:RATE], truth[2 * RATE :]])
    assert likeness(audio.manifest[0], expected) > 0.99


def test_what_is_in_order_is_read_in_place(tmp_path):
    wav = write(tmp_path / "a.wav", 1.0)
    given = Manifest.from_rows([row("a", wav, 0, 16000, 1.0, gender="f")])
    audio = usable_utterances(given, tmp_path / "save")
    assert audio.manifest is given
    assert (audio.left_out, audio.files) == ([], None)
    assert not (tmp_path / "save" / "audio").exists()


def test_formats_levels_and_channels_are_converted(tmp_path):
    truth = speech()
    files = {
        "mp3": at_rate(tmp_path / "a.mp3", truth, RATE),
        "gsm": at_rate(tmp_path / "gsm.wav", truth, RATE, subtype="GSM610"),
        "quiet": at_rate(tmp_path / "q.wav", truth * 1e-3, RATE, subtype="FLOAT"),
        "loud": at_rate(tmp_path / "l.wav", truth * 32768, RATE, subtype="FLOAT"),
        "two": at_rate(tmp_path / "two.wav", np.stack([truth, truth], 1), 44100),
    }
    stops = {"two": 2 * 44100}
    given = Manifest.from_rows(
        row(name, wav, 0, stops.get(name, 32000), 2.0, spk_id=name)
        for name, wav in files.items()
    )
    audio = find_audio(given, tmp_path / "save")
    assert (list(audio.manifest.ids), audio.left_out) == (list(files), [])
    assert list(audio.manifest.column("spk_id")) == list(files)
    for number, (name, wav) in enumerate(files.items()):
        assert audio.file_of(number) == wav
        least = 0.9 if name in ("mp3", "gsm") else 0.99
        assert likeness(audio.manifest[number], truth) > least, name


def test_what_cannot_be_used_is_named(tmp_path, caplog):
    folder = tmp_path / "c"
    good = write(folder / "good.wav", 1.0)
    (folder / "text.wav").write_text("no audio", encoding="utf-8")
    nan = write(folder / "n.wav", samples=np.full(16000, np.nan), subtype="FLOAT")
    rows = [
        row("good", good, 0, 16000, 1.0),
        row("again", good, 0, 16000, 1.0),
        row("unreadable", folder / "text.wav", 0, 16000, 1.0),
        row("missing", folder / "gone.wav", 0, 16000, 1.0),
        row("special", folder, 0, 16000, 1.0),
        row("past_end", good, 0, 16001, 1.0),
        row("too_short", good, 0, 100, 100 / 16000),
        row("non_finite", nan, 0, 16000, 1.0),
        row("na\nme", good, 1, 16000, 1.0),
    ]
    Manifest.from_rows(rows).to_csv(tmp_path / "m.csv")
    audio = find_audio(tmp_path / "m.csv", tmp_path / "save")
    assert list(audio.manifest.ids) == ["good", "again"]
    kinds = {name: kind for name, _, kind in audio.left_out}
    assert kinds == {r["ID"]: r["ID"].replace("\n", "") for r in rows[2:]}
    with caplog.at_level("WARNING"):
        find_utterances(tmp_path / "m.csv", tmp_path / "save")
    for kind in kinds.values():
        assert f"1 {kind}, such as" in caplog.text
    Manifest.from_rows(rows[2:4]).to_csv(tmp_path / "none.csv")
    with pytest.raises(ValueError, match="there is no usable utterance"):
        find_utterances(tmp_path / "none.csv", tmp_path / "save")


def test_lossy_files_may_be_a_little_shorter_than_listed(tmp_path):
    wav = at_rate(tmp_path / "a.mp3", speech(), RATE)
    rows = [row("a", wav, 0, 33000, 33000 / RATE), row("b", wav, 0, 48000, 3.0)]
    audio = usable_utterances(Manifest.from_rows(rows), tmp_path / "save")
    assert [(u.id, u.stop) for u in (audio.manifest[0],)] == [("a", 32000)]
    assert audio.left_out == [("b", wav, "past_end")]


def test_training_does_not_read_another_rate(tmp_path):
    wav = at_rate(tmp_path / "a.wav", speech(), 8000)
    manifest = Manifest.from_rows([row("a", wav, 0, 16000, 2.0)])
    crops = MultiCropDataset(manifest, global_seconds=0.5, local_seconds=0.2)
    with pytest.raises(ValueError, match="8000 Hz, 16000 Hz were expected"):
        crops[0, 0]


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path):
    wav = write(tmp_path / "a.wav", 1.0)
    plain = tmp_path / "plain.csv"
    Manifest.from_rows([row("a", wav, 0, 16000, 1.0, spk_id="s")]).to_csv(plain)
    marked = tmp_path / "marked.csv"
    marked.write_bytes(codecs.BOM_UTF8 + plain.read_bytes())
    assert list(find_utterances(marked, tmp_path / "save").ids) == ["a"]
    assert read_truth(marked, "spk_id") == {"a": "s"}
    labels = tmp_path / "labels.csv"
    labels.write_bytes(codecs.BOM_UTF8 + b"ID,label\na,0\nb,1\n")
    assert load_labels(labels, ["a", "b"]).tolist() == [0, 1]


def test_a_table_that_is_not_utf8_is_named_with_its_line(tmp_path):
    lines = ["ID,duration,wav,start,stop", "a,1.0,a.wav,0,16000", "é,1.0,é.wav,0,16000"]
    (tmp_path / "m.csv").write_bytes("\n".join(lines).encode("latin-1"))
    with pytest.raises(ValueError, match=r"m\.csv is not UTF-8, see line 3.*save it"):
        Manifest.from_csv(tmp_path / "m.csv")
