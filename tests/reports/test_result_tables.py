"""Tables of results: every list, run and way once, with its cohort."""

import json

import numpy as np
import pytest
from test_report import Page

from speechbrain_dino.embeddings.table import EmbeddingTable
from speechbrain_dino.reports import plots
from speechbrain_dino.reports.report import write_report
from speechbrain_dino.reports.run_folder import read_run
from speechbrain_dino.reports.tables import conditions_table, results_table
from speechbrain_dino.scoring.conditions import describe
from speechbrain_dino.scoring.cosine import summarize


@pytest.fixture
def run(tmp_path):
    """A verification run of two lists and two ways, three speakers."""
    rng = np.random.default_rng(0)
    labels = np.arange(200) % 2
    scorings = {}
    for way, folder in (("cosine", ""), ("as_norm", "as_norm")):
        metrics, conditions = {}, {}
        for name in ("O", "H"):
            scores = rng.standard_normal(200) + 2 * labels
            path = tmp_path / "scores" / folder / f"{name}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            lines = (
                f"{y} a/{n} b/{n} {x}\n" for n, (y, x) in enumerate(zip(labels, scores))
            )
            path.write_text("".join(lines), encoding="utf-8")
            metrics[name] = summarize(labels, scores)
            line = {"condition": "gender", "value": "f<", "eer": 0.125, "targets": 9}
            conditions[name] = [line | {"trials": 1009, "impostors": "own"}]
        scorings[way] = {"lists": metrics, "conditions": conditions}
    about = {"cohort": "others.csv", "cohort_by": "speaker", "cohort_size": 5994}
    scorings["as_norm"] |= about
    scorings["as_norm"]["lists"]["H"]["intervals"] = {"eer": [0.1, 0.2]}
    results = {"scorings": scorings, "verification": scorings["cosine"]["lists"]}
    (tmp_path / "results.json").write_text(json.dumps(results), encoding="utf-8")
    ids = [f"id{s}/s/{u}.wav" for s in range(3) for u in range(6)]
    table = EmbeddingTable(ids, rng.standard_normal((18, 8)))
    table.save(tmp_path / "embeddings" / "test")
    metadata = describe(ids)
    metadata["gender"] = ["f"] * 12 + ["m"] * 6
    metadata.to_csv(tmp_path / "embeddings" / "test" / "metadata.csv", index=False)
    return tmp_path, results


def test_every_list_and_way_has_a_line(run):
    folder, results = run
    rows = Page(results_table([read_run(folder)])).rows
    assert rows[0][:3] == ["trial list", "scoring", "EER"]
    assert rows[0][-1] == "cohort"
    shown = {(row[0], row[1]): row for row in rows[1:]}
    assert list(shown) == [(n, w) for n in ("O", "H") for w in ("cosine", "as_norm")]
    for (name, way), row in shown.items():
        rate = 100 * results["scorings"][way]["lists"][name]["eer"]
        assert row[2].startswith(f"{rate:.2f} %")
        assert row[-1] == ("-" if way == "cosine" else "5,994 speakers")
    assert shown["H", "as_norm"][2].endswith("10.00 - 20.00 %")
    page = results_table([read_run(folder)])
    assert "others.csv" in page and "95 % interval over draws of speakers" in page


def test_calibrated_scores_have_more_columns(run):
    folder, results = run
    plain = Page(results_table([read_run(folder)])).rows[0]
    assert "minCllr" not in plain and "Cllr" not in plain
    raw = results["scorings"]["cosine"]["lists"]["H"]
    ratios = {"act_dcf_0.01": 0.75, "act_dcf_0.05": 0.5, "cllr": 0.25}
    about = {"conditions": {}, "calibration_list": "O", "systems": ["cosine"]}
    about["known_trials"] = {"H": 1234}
    results["scorings"]["cosine_calibrated"] = about | {"lists": {"H": raw | ratios}}
    fused = {"H": results["scorings"]["cosine"]["conditions"]["H"]}
    about = about | {"systems": ["cosine", "as_norm"], "conditions": fused}
    results["scorings"]["fusion"] = about | {"lists": {"H": raw | ratios}}
    (folder / "results.json").write_text(json.dumps(results), encoding="utf-8")
    page = results_table([read_run(folder)])
    head, *rows = Page(page).rows
    assert [row[:2] for row in rows] == [
        *(["O", way] for way in ("cosine", "as_norm")),
        *(["H", way] for way in ("cosine", "as_norm", "cosine_calibrated", "fusion")),
    ]
    line = dict(zip(head, rows[-1]))
    assert (line["actDCF (0.01)"], line["Cllr"]) == ("0.7500", "0.2500")
    assert line["minCllr"] == f"{raw['min_cllr']:.4f}"
    assert "learned on O, which is left out" in page
    assert "1,234 trials of H are also in the list learned on" in page
    assert "Fusion of cosine, as_norm." in page
    rows = Page(conditions_table(results)).rows
    assert rows[0][3:6] == ["EER, cosine", "EER, as_norm", "EER, fusion"]
    assert [row[5] for row in rows[1:]] == ["-", "12.50 %"]
    write_report(folder)


def test_conditions_have_a_column_per_way(run):
    _, results = run
    rows = Page(conditions_table(results)).rows
    assert rows[0][3:5] == ["EER, cosine", "EER, as_norm"]
    assert rows[1] == ["O", "gender", "f<", "12.50 %", "12.50 %", "9", "1,000"]
    assert conditions_table({"verification": {}}) == ""


def test_the_page_shows_all_ways(run):
    folder, _ = run
    text = write_report(folder).read_text(encoding="utf-8")
    page = Page(text)
    assert len(page.images) == 3
    assert "5,994 speakers" in text and "curves.jsonl" not in text
    systems = {"cosine": read_run(folder).scores, **read_run(folder).ways}
    labels = [line.get_label() for line in plots.det_figure(systems).axes[1].lines]
    assert [label.split("\n")[0] for label in labels] == [
        f"{name}, {way}" for name in ("H", "O") for way in ("cosine", "as_norm")
    ]


def test_the_map_has_a_panel_per_column(run):
    contents = read_run(run[0])
    figure = plots.map_figure(contents.embeddings, contents.about, ["gender"])
    gender = next(
        axis for axis in figure.axes if axis.get_title(loc="left") == "gender"
    )
    texts = [text.get_text() for text in gender.get_legend().get_texts()]
    assert texts == ["f", "m"]
    assert [len(line.get_xdata()) for line in gender.lines] == [12, 6]
