"""The page of a run: right numbers, nothing from the network, gaps named."""

import base64
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy.stats import norm
from sklearn.metrics import det_curve

from speechbrain_dino.embeddings.table import EmbeddingTable
from speechbrain_dino.reports import plots
from speechbrain_dino.reports.report import main, write_report
from speechbrain_dino.reports.run_folder import read_run
from speechbrain_dino.scoring.cosine import summarize

PICTURES = {"training", "health", "det", "scores", "map"}


def make_run(folder, shift=2.0):
    """A whole run folder of 3 epochs, two lists, three speakers."""
    rng = np.random.default_rng(0)
    (folder / "scores").mkdir(parents=True)
    after, before = {}, {}
    for name in ("veri_test", "veri_test_degraded"):
        labels = np.arange(200) % 2
        scores = np.round(rng.standard_normal(200) + shift * labels, 6)
        lines = [
            f"{y} a/{i}.wav b/{i}.wav {x}\n"
            for i, (y, x) in enumerate(zip(labels, scores))
        ]
        (folder / "scores" / f"{name}.txt").write_text("".join(lines), "utf-8")
        after[name] = summarize(labels, scores)
        before[name] = summarize(labels, rng.standard_normal(200))
    lines = [
        {"kind": "step", "step": n, "epoch": n / 4, "loss": 9 - n / 4, "lr": 0.1}
        | {"wait": 0.01, "utt_per_s": 20.0}
        for n in range(12)
    ]
    lines += [
        {"kind": "epoch", "epoch": n, "loss": 9.0 - n, "ln_k": 9.0}
        | {
            "teacher_entropy": 3.0,
            "kl": 0.5,
            "prototypes_used": 90,
            "embedding_std": 0.1,
        }
        | {"effective_rank": 7.0, "eer/veri_test": 0.4 - n / 10}
        for n in (1, 2, 3)
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "curves.jsonl").write_text(text + '{"kind": "ep', "utf-8")
    ids = [f"id{s}/s/{u}.wav" for s in range(3) for u in range(4)]
    table = EmbeddingTable(ids, rng.standard_normal((12, 8)).astype(np.float32))
    table.save(folder / "embeddings" / "test")
    (folder / "hyperparams.yaml").write_text("seed: 1986 # <b>&\n", "utf-8")
    left_out = {"silent": {"count": 3, "example": "x/<1>.wav", "remedy": "look"}}
    results = {
        "verification": after,
        "verification_before": before,
        "data": {"kept": 812, "hours": 1.25, "left_out": left_out},
        "seed": 1986,
        "hardware": {"cpu": "2 cores of something"},
        "seconds": 90.0,
        "command": "python train.py hparams/demo.yaml",
        "health": {"effective_rank": 7.0},
    }
    (folder / "results.json").write_text(json.dumps(results), "utf-8")
    return results


class Page(HTMLParser):
    """Cells of the tables, sources of pictures, all links and all text."""

    def __init__(self, text):
        super().__init__()
        self.rows, self.images, self.links, self.tags, self.text = [], [], [], [], ""
        self.in_cell = False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        attrs = dict(attrs)
        self.links += [attrs[name] for name in ("src", "href") if name in attrs]
        if tag == "img":
            self.images.append(attrs["src"])
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self.in_cell = True

    def handle_endtag(self, tag):
        self.in_cell = self.in_cell and tag not in ("td", "th")

    def handle_data(self, data):
        self.text += data
        if self.in_cell:
            self.rows[-1][-1] += data.strip()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run folder, its results and its page."""
    folder = tmp_path_factory.mktemp("run") / "small"
    results = make_run(folder)
    path = write_report(folder)
    return folder, results, Page(path.read_text(encoding="utf-8"))


def test_table_shows_the_figures_of_results_json(run):
    _, results, page = run
    for name, after in results["verification"].items():
        before = results["verification_before"][name]
        assert [
            name,
            f"{100 * before['eer']:.2f} %",
            f"{100 * after['eer']:.2f} %",
            f"{before['min_dcf_0.01']:.4f}",
            f"{after['min_dcf_0.01']:.4f}",
            f"{before['min_dcf_0.05']:.4f}",
            f"{after['min_dcf_0.05']:.4f}",
            f"{after['eer_threshold']:.4f}",
            "200",
        ] in page.rows
    assert ["silent", "3", "x/<1>.wav", "look"] in page.rows
    assert ["hardware: cpu", "2 cores of something"] in page.rows
    assert "python train.py hparams/demo.yaml" in page.text
    assert "seed: 1986 # <b>&" in page.text
    assert "812 training utterances" in page.text and "1.2 hours" in page.text


def test_page_is_self_contained(run):
    folder, _, page = run
    text = (folder / "report" / "index.html").read_text(encoding="utf-8")
    assert {path.stem for path in (folder / "report").glob("*.png")} == PICTURES
    assert len(page.images) == len(PICTURES) and page.links == page.images
    kept = {path.read_bytes() for path in (folder / "report").glob("*.png")}
    prefix = "data:image/png;base64,"
    assert {base64.b64decode(s.removeprefix(prefix)) for s in page.images} == kept
    assert not {"script", "link", "iframe"} & set(page.tags)
    assert not re.search(r"url\(|@import|https?://", text)


def test_missing_parts_are_named(tmp_path):
    page = Page(write_report(tmp_path).read_text(encoding="utf-8"))
    for name in ("results.json", "hyperparams.yaml", "curves.jsonl", "scores/"):
        assert any(row[0] == name and row[1] for row in page.rows)
    assert page.images == []


@pytest.mark.parametrize(
    "gone", ["results.json", "curves.jsonl", "scores", "embeddings"]
)
def test_any_part_may_be_missing(tmp_path, gone):
    make_run(tmp_path / "run")
    (tmp_path / "run" / gone).rename(tmp_path / "elsewhere")
    pictures = {"curves.jsonl": 3, "scores": 3, "embeddings": 4}.get(gone, 5)
    page = Page(write_report(tmp_path / "run").read_text(encoding="utf-8"))
    assert len(page.images) == pictures
    assert any(row[0].startswith(gone) for row in page.rows)


def test_a_second_report_replaces_the_first(tmp_path):
    make_run(tmp_path / "run")
    write_report(tmp_path / "run")
    (tmp_path / "run" / "curves.jsonl").unlink()
    write_report(tmp_path / "run")
    left = {path.stem for path in (tmp_path / "run" / "report").glob("*.png")}
    assert left == {"det", "scores", "map"}


def test_runs_side_by_side(tmp_path, capsys):
    first = make_run(tmp_path / "one" / "run")["verification"]["veri_test"]
    other = make_run(tmp_path / "two" / "run", 0.5)["verification"]["veri_test"]
    main([str(tmp_path / "one" / "run"), str(tmp_path / "two" / "run")])
    path = capsys.readouterr().out.strip()
    assert path == str(tmp_path / "one" / "run" / "report" / "index.html")
    with open(path, encoding="utf-8") as file:
        rows = [row for row in Page(file.read()).rows if row[0] == "veri_test"]
    assert [row[1] for row in rows] == ["one/run", "two/run"]
    assert [row[3] for row in rows] == [
        f"{100 * x['eer']:.2f} %" for x in (first, other)
    ]
    assert not (tmp_path / "two" / "run" / "report").exists()


def test_no_such_folder(tmp_path, caplog):
    with pytest.raises(SystemExit) as error:
        main([str(tmp_path / "none")])
    assert error.value.code == 1
    assert "there is no run folder" in caplog.text


def test_resumed_run_counts_the_later_line(tmp_path):
    lines = [(1, 5.0), (2, 4.0), (3, 9.0), (2, 3.0), (3, 2.0)]
    text = "".join(
        json.dumps({"kind": "step", "step": step, "epoch": step, "loss": loss}) + "\n"
        for step, loss in lines
    )
    (tmp_path / "curves.jsonl").write_text(text, "utf-8")
    assert read_run(tmp_path).steps["loss"].tolist() == [5.0, 3.0, 2.0]


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.integers(-5, 5), min_size=1, max_size=30),
    st.lists(st.integers(-5, 5), min_size=1, max_size=30),
)
def test_det_points_are_those_of_sklearn(targets, nontargets):
    labels = np.repeat([1, 0], [len(targets), len(nontargets)])
    scores = np.array(targets + nontargets, dtype=np.float64)
    false_alarm, miss = plots.det_points(labels, scores)
    ours = set(zip(false_alarm.round(9), miss.round(9)))
    wanted_fa, wanted_miss, _ = det_curve(labels, scores, drop_intermediate=False)
    assert set(zip(wanted_fa.round(9), wanted_miss.round(9))) <= ours


def test_many_det_points_are_thinned_along_the_curve():
    rng = np.random.default_rng(0)
    labels = np.arange(200_000) % 2
    scores = rng.standard_normal(200_000) + 2 * labels
    false_alarm, miss = plots.det_points(labels, scores)
    assert len(miss) < 5000
    wanted_fa, wanted_miss, _ = det_curve(labels, scores, drop_intermediate=False)
    at = np.interp(norm.ppf([0.001, 0.01, 0.16, 0.5]), *_probit(wanted_fa, wanted_miss))
    got = np.interp(norm.ppf([0.001, 0.01, 0.16, 0.5]), *_probit(false_alarm, miss))
    np.testing.assert_allclose(got, at, atol=0.01)


def _probit(false_alarm, miss):
    order = np.argsort(false_alarm, kind="stable")
    clipped = np.clip([false_alarm[order], miss[order]], 1e-5, 1 - 1e-5)
    return norm.ppf(clipped)


def test_equal_error_rate_is_marked_on_the_diagonal():
    labels = np.array([1, 1, 1, 1, 0, 0, 0, 0])
    scores = np.array([4.0, 3.0, 2.0, 0.5, 1.0, 0.0, -1.0, -2.0])
    figure = plots.det_figure({"run": {"list": (labels, scores)}})
    lines = figure.axes[0].lines
    marks = [line.get_xydata() for line in lines if line.get_marker() == "o"]
    np.testing.assert_allclose(marks, [[[norm.ppf(0.25)] * 2]])


def test_training_figure_shows_the_curves(run):
    folder, results, _ = run
    data = read_run(folder)
    before = results["verification_before"]
    figure = plots.training_figure(data.steps, data.epochs, before)
    panels = {axis.get_title(loc="left"): axis for axis in figure.axes}
    errors = [line.get_xydata().tolist() for line in panels["Equal error rate"].lines]
    np.testing.assert_allclose(errors[0], [[1, 30], [2, 20], [3, 10]])
    np.testing.assert_allclose(errors[1], [[0, 100 * before["veri_test"]["eer"]]])
    chance = panels["Loss"].lines[2].get_ydata()
    assert list(chance) == [9.0, 9.0]
    assert panels["Speed"].get_ylabel() == "utterances / s"
    health = plots.health_figure(data.epochs)
    unknown = [
        a for a in health.axes if a.texts and a.texts[0].get_text() == "not recorded"
    ]
    assert [a.get_title(loc="left") for a in unknown] == ["Agreement of neighbors"]


def test_map_shows_some_speakers_spread_over_their_names():
    ids = [f"id{speaker:02d}/s/{u}.wav" for speaker in range(25) for u in range(3)]
    vectors = np.random.default_rng(0).standard_normal((75, 5)).astype(np.float32)
    axis = plots.map_figure(EmbeddingTable(ids, vectors), utterances=2).axes[0]
    spread = [int(n * 24 / 19) for n in range(20)]
    assert [text.get_text() for text in axis.texts] == [f"id{n:02d}" for n in spread]
    assert {len(line.get_xdata()) for line in axis.lines} == {2}


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_map_of_few_embeddings(count):
    vectors = np.random.default_rng(0).standard_normal((count, 4)).astype(np.float32)
    figure = plots.map_figure(EmbeddingTable([f"a/{n}" for n in range(count)], vectors))
    assert len(figure.axes[0].lines[0].get_xdata()) == count
