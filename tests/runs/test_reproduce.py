"""A paper in one command: order, what is missing, what failed, and the page."""

import json
import sys
from pathlib import Path

import pytest
from recipe_runs import write_recipe
from ruamel.yaml import YAML

from speechbrain_dino.reports.reproduction import table_rows
from speechbrain_dino.runs.recipe_yaml import read_recipe
from speechbrain_dino.runs.reproduce import main, read_plan
from speechbrain_dino.utils.checked_json import read_checked, write_checked

RECIPES = Path(__file__).resolve().parents[2] / "recipes"
SCRIPT = """
import json, sys
from pathlib import Path
sys.path.insert(0, {root!r})
from speechbrain_dino.utils.checked_json import write_checked
words = sys.argv[1:]
options = dict(zip(words[1::2], words[2::2]))
folder = Path(options["--output_folder"])
folder.mkdir(parents=True, exist_ok=True)
with open(folder / "calls.txt", "a") as file:
    file.write(json.dumps(words) + "\\n")
if Path(options["--data_folder"], "broken").exists():
    raise SystemExit(3)
write_checked(folder / "results.json", {{"verification": {{"O": {{"eer": 0.0438}}}}}})
"""


@pytest.fixture
def plan(tmp_path):
    """Two stages, the second of which takes the first one's folder."""
    root = str(RECIPES.parent)
    (tmp_path / "Corpus").mkdir()
    (tmp_path / "Corpus" / "train.py").write_text(SCRIPT.format(root=root))
    for name in ("V", "N"):
        (tmp_path / name).mkdir()
    stages = {
        "first": {
            "needs": ["voxceleb"],
            "command": ["Corpus/train.py", "hparams/a.yaml"],
            "options": {"data_folder": "<voxceleb>", "noise_folder": "<noise>"},
        },
        "second": {
            "needs": ["voxceleb", "first"],
            "command": ["Corpus/train.py", "hparams/b.yaml"],
            "options": {"data_folder": "<voxceleb>", "model": "<first>/inference"},
        },
        "third": {"needs": ["iemocap"], "command": ["Corpus/train.py", "c.yaml"]},
    }
    ours = {"O": ["second", "results.json", "verification", "O", "eer"]}
    lost = {"O": ["second", "results.json", "verification", "E", "eer"]}
    other = {"O": ["third", "results.json", "x"]}
    rows = [
        {"name": "DINO", "paper": {"O": 4.38}, "ours": ours},
        {"name": "lost", "ours": lost},
        {"name": "other", "ours": other},
    ]
    path = tmp_path / "plan.yaml"
    content = {
        "title": "A paper",
        "summary": "In short",
        "output_folder": str(tmp_path / "out"),
        "data": {"voxceleb": "speech", "iemocap": "emotions", "noise": "noises"},
        "stages": stages,
        "tables": {"t": {"title": "EER", "columns": ["O"], "rows": rows}},
    }
    YAML(typ="safe").dump(content, path)
    return path


def calls(folder):
    return [
        json.loads(line) for line in (folder / "calls.txt").read_text().split("\n")[:-1]
    ]


def test_stages_in_order_and_the_page(plan, tmp_path):
    main([str(plan), "--voxceleb", str(tmp_path / "V")], tmp_path)
    out = (tmp_path / "out").resolve()
    data = str((tmp_path / "V").resolve())
    # Noises were not given: neither is the option.
    first = ["hparams/a.yaml", "--data_folder", data, "--output_folder", f"{out}/first"]
    assert calls(out / "first") == [first]
    second = ["hparams/b.yaml", "--data_folder", data]
    second += ["--model", f"{out}/first/inference", "--output_folder", f"{out}/second"]
    assert calls(out / "second") == [second]
    states = read_checked(out / "reproduction.json")
    assert [s["status"] for s in states.values()] == ["done", "done", "skipped"]
    page = (out / "report" / "index.html").read_text(encoding="utf-8")
    assert page.count("<td>4.38</td>") == 2  # the paper's figure and ours
    assert "skipped, without iemocap" in page
    assert "no results.json: verification/E/eer" in page
    # Once more: nothing is done twice, and what is new is.
    words = ["--voxceleb", str(tmp_path / "V"), "--noise", str(tmp_path / "N")]
    main([str(plan), *words], tmp_path)
    assert len(calls(out / "first")) == 1


def test_a_stage_that_failed_is_tried_again(plan, tmp_path):
    (tmp_path / "V" / "broken").touch()
    with pytest.raises(SystemExit) as ended:
        main([str(plan), "--voxceleb", str(tmp_path / "V")], tmp_path)
    assert ended.value.code == 1
    out = tmp_path / "out"
    states = read_checked(out / "reproduction.json")
    assert states["first"]["status"] == "failed: exit status 3"
    assert states["second"] == {"status": "skipped", "missing": ["first"]}
    assert "failed" in (out / "report" / "index.html").read_text(encoding="utf-8")
    (tmp_path / "V" / "broken").unlink()
    main([str(plan), "--voxceleb", str(tmp_path / "V")], tmp_path)
    assert len(calls(out / "first")) == 2 and len(calls(out / "second")) == 1


def test_chosen_stages(plan, tmp_path):
    words = ["--voxceleb", str(tmp_path / "V"), "--stages", "first"]
    main([str(plan), *words], tmp_path)
    assert not (tmp_path / "out" / "second").exists()


def test_a_folder_of_something_else_stays(plan, tmp_path, caplog):
    write_checked(tmp_path / "out" / "reproduction.json", {"mine": {}})
    with pytest.raises(SystemExit):
        main([str(plan), "--voxceleb", str(tmp_path / "V")], tmp_path)
    assert "is in the way" in caplog.text
    assert read_checked(tmp_path / "out" / "reproduction.json") == {"mine": {}}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "no data: give at least one of --iemocap, --noise, --voxceleb"),
        (["--voxceleb", "V", "--stages", "fourth"], "the plan has first, second"),
    ],
)
def test_wrong_words_are_one_line(plan, tmp_path, caplog, words, message):
    with pytest.raises(SystemExit):
        main([str(plan), *words], tmp_path)
    assert message in caplog.text
    assert not (tmp_path / "out").exists()


def test_names_that_do_not_fit(plan):
    content = YAML(typ="safe").load(plan)
    content["stages"]["first"]["options"]["model"] = "<second>/inference"
    YAML(typ="safe").dump(content, plan)
    with pytest.raises(ValueError, match=r"stage first .* names second"):
        read_plan(plan)
    plan.write_text("data: {}")
    with pytest.raises(ValueError, match="is no plan: it has no output_folder"):
        read_plan(plan)


@pytest.mark.parametrize("name", ["paper", "paper_mini"])
def test_the_plans_name_recipes_and_their_keys(name):
    plan = read_plan(RECIPES / "Paper" / "hparams" / f"{name}.yaml")
    for stage in plan["stages"].values():
        script = RECIPES / stage.command[0]
        assert script.is_file()
        recipe = read_recipe(script.parent / stage.command[1])
        keys = set(YAML(typ="rt").load(recipe))
        assert set(stage.options) <= keys, stage.name
    for table in plan["tables"].values():
        for row in table["rows"]:
            named = set(row.get("ours", {})) | set(row.get("paper", {}))
            assert named <= set(table["columns"])


def test_help_lists_what_may_be_given(capsys, monkeypatch):
    plan = RECIPES / "Paper" / "hparams" / "paper.yaml"
    monkeypatch.setattr(sys.modules["__main__"], "__doc__", "What it does.")
    with pytest.raises(SystemExit) as ended:
        main([str(plan), "--help"], RECIPES)
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert "--msp_podcast" in shown and "RIRS_NOISES" in shown


def test_columns_without_a_figure_of_the_paper(tmp_path):
    ours = {"O": ["dino", "results.json", "eer"], "E": ["dino", "results.json", "e"]}
    rows = [{"name": "DINO", "paper": {"O": 4.38}, "ours": ours}, {"name": "none"}]
    write_checked(tmp_path / "dino" / "results.json", {"eer": 0.05})
    states = {"dino": {"status": "done"}}
    assert table_rows(tmp_path, {"columns": ["O", "E"], "rows": rows}, states) == [
        ("", "O, paper", "O, here", "E"),
        ("DINO", "4.38", "5.00", "no results.json: e"),
        ("none", "", "", ""),
    ]


@pytest.mark.recipe
def test_training_and_verification_for_real(tiny_corpus, tmp_path):
    recipe = write_recipe(tmp_path / "tiny.yaml", number_of_epochs=1, warmup_epochs=0)
    train = {"needs": ["voxceleb"], "command": ["VoxCeleb/train.py", str(recipe)]}
    train["options"] = {"data_folder": "<voxceleb>"}
    verify = {"needs": ["dino"], "command": ["VoxCeleb/verify.py"]}
    verify["command"].append("hparams/verify.yaml")
    verify["options"] = {
        "data_folder": "<voxceleb>",
        "model": "<dino>/inference",
        "trial_lists": "[veri_test]",
        "bootstrap": 0,
    }
    row = {"name": "DINO", "ours": {}}
    for stage in ("dino", "verify"):
        place = [stage, "results.json", "verification", "veri_test", "eer"]
        row["ours"][stage] = place
    table = {"title": "EER", "columns": ["dino", "verify"], "rows": [row]}
    content = {"title": "A paper", "summary": "In short", "output_folder": "out"}
    content |= {"data": {"voxceleb": "speech"}, "tables": {"t": table}}
    content["stages"] = {"dino": train, "verify": verify}
    plan = tmp_path / "plan.yaml"
    YAML(typ="safe").dump(content, plan)
    out = tmp_path / "out"
    words = ["--voxceleb", str(tiny_corpus), "--output_folder", str(out)]
    main([str(plan), *words], RECIPES)
    eers = [
        read_checked(out / stage / "results.json")["verification"]["veri_test"]["eer"]
        for stage in ("dino", "verify")
    ]
    assert eers[0] == pytest.approx(eers[1], abs=1e-6)
    page = (out / "report" / "index.html").read_text(encoding="utf-8")
    assert page.count(f"<td>{100 * eers[0]:.2f}</td>") == 2
    assert '<a href="../dino/report/index.html">' in page
