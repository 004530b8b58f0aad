"""State files that are cut or have a flipped bit: named, recovered from or refused.

``FAULTS_EXAMPLES`` sets how many damages of each file are tried, 30 by default.
"""

import os
import random
import shutil

import pytest
import recipe_runs as runs
import torch

from speechbrain_dino.corpora.preparation import Preparation, read_summary
from speechbrain_dino.runs.compare.plan import Plan
from speechbrain_dino.runs.rounds import RoundsState
from speechbrain_dino.training.checkpoints import WholeCheckpointer
from speechbrain_dino.training.curves import Curves
from speechbrain_dino.utils.checked_json import DamagedFileError, read_checked
from speechbrain_dino.utils.ownership import NotOwnedError, claim, replacing_folder
from speechbrain_dino.utils.results import update_results

EXAMPLES = int(os.environ.get("FAULTS_EXAMPLES", 30))
RUNS = max(1, EXAMPLES // 30)  # whole runs take seconds each


def damages(path, number=EXAMPLES):
    """Damages a file in many ways, one after the other; whole again at the end."""
    whole, chance = path.read_bytes(), random.Random(path.name)
    for example in range(number):
        place = chance.randrange(len(whole))
        cut = whole[:place]
        flipped = bytearray(whole)
        flipped[place] ^= 1 << chance.randrange(8)
        path.write_bytes(cut if example % 3 == 0 else flipped)
        yield example
    path.write_bytes(whole)


def assert_named_or_harmless(path, read, *errors):
    """Every damage is an error that names the file, or changes nothing that is read."""
    expected, refused = read(), 0
    for example in damages(path):
        try:
            result = read()
        except errors as error:
            refused += 1
            assert path.name in str(error) and "\n" not in str(error), error
        else:
            assert result == expected, example
    assert refused > EXAMPLES // 2
    assert read() == expected


def test_results(tmp_path):
    path = tmp_path / "results.json"
    lists = {"eer": 0.0372, "min_dcf_0.01": 0.41, "trials": 37611}
    update_results(path, {"seed": 1, "verification": {"O": lists}})

    def read():
        # An unknown name, of which nobody reads the value, may come of the checksum.
        content = read_checked(path)
        return content["seed"], content["verification"]

    assert_named_or_harmless(path, read, DamagedFileError)


def test_rounds(tmp_path):
    path = tmp_path / "rounds.json"
    state = RoundsState(path)
    state.note(1, cluster={"clusters": 40, "label_change": 0.25}, model="round1/x")
    state.note_digest("labels of round 1", "0123")

    def read():
        state = RoundsState(path)
        return state.lines(), state.state["digests"]

    assert_named_or_harmless(path, read, ValueError)


def test_plan(tmp_path):
    path, budget = tmp_path / "plan.json", (None, 5.0, ["--data_folder", "d"])
    plan = Plan(path, *budget)
    plan.content["epochs"]["dino"] = 37
    update_results(path, plan.content)
    assert_named_or_harmless(
        path, lambda: Plan(path, *budget).content["epochs"], ValueError
    )


def test_marks(tmp_path):
    path = tmp_path / "owner.json"
    claim(tmp_path, "training")

    def read():
        claim(tmp_path, "training")
        return sorted(os.listdir(tmp_path))

    # What the mark says beside the command is for people.
    path.write_text('{"command": "training"}', "utf-8")
    assert_named_or_harmless(path, read, NotOwnedError)


def test_a_damaged_list_of_files_costs_the_user_nothing(tmp_path):
    folder = tmp_path / "report"
    for example in range(EXAMPLES):
        with replacing_folder(folder, "report") as draft:
            (draft / "index.html").write_text(str(example), "utf-8")
        (folder / "mine.txt").write_text("mine", "utf-8")
        mark, chance = folder / "owner.json", random.Random(example)
        text = bytearray(mark.read_bytes())
        text[chance.randrange(len(text))] ^= 1 << chance.randrange(8)
        mark.write_bytes(text)
        try:
            with replacing_folder(folder, "report") as draft:
                (draft / "index.html").write_text("new", "utf-8")
        except NotOwnedError:
            assert (folder / "index.html").read_text("utf-8") == str(example)
        assert (folder / "mine.txt").read_text("utf-8") == "mine"
        shutil.rmtree(folder)


@pytest.mark.parametrize("damaged", ["curves.jsonl", "curves.crc"])
def test_curves(tmp_path, caplog, damaged):
    curves = Curves(tmp_path)
    for step in range(1, 6):
        curves.add("step", step, epoch=step / 5, loss=8.0 - step, utt_per_s=50.5)
    curves.add("epoch", 5, epoch=1, loss=5.5)
    rows, files = curves.read(), [curves.path, curves.sums]
    whole = [path.read_bytes() for path in files]
    for example in damages(tmp_path / damaged):
        caplog.clear()
        left = curves.read()
        assert all(row in rows for row in left), example
        if len(left) < len(rows):
            assert "curves.jsonl" in caplog.text, example
        curves.forget_after(3, epoch=0)  # as a resumed run does
        curves.add("step", 4, epoch=0.8, loss=4.0)
        caplog.clear()
        assert [row for row in left if row["step"] <= 3] == curves.read()[:-1]
        assert not caplog.text
        for path, content in zip(files, whole):
            path.write_bytes(content)


@pytest.mark.parametrize("name", ["layer.ckpt", "CKPT.yaml", "contents.json"])
def test_checkpoint(tmp_path, caplog, name):
    layer = torch.nn.Linear(2, 2)
    saver = WholeCheckpointer(tmp_path, {"layer": layer})
    for value in (1.0, 2.0):
        torch.nn.init.constant_(layer.weight, value)
        newest = saver.save_checkpoint(meta={"value": value})
    for example in damages(newest.path / name):
        again = WholeCheckpointer(tmp_path, {"layer": layer})
        caplog.clear()
        value = again.recover_if_possible().meta["value"]
        assert (layer.weight == value).all(), example
        assert value == 2.0 or name in caplog.text, example
        assert value == 1.0 or name == "contents.json", example
    for path in tmp_path.glob("CKPT*/layer.ckpt"):
        path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DamagedFileError, match="none is whole"):
        WholeCheckpointer(tmp_path, {"layer": layer}).check()


def test_preparation(tmp_path, caplog):
    def job():
        arguments = {"check": "full"}
        return Preparation(tmp_path, arguments, [("a.wav", 7, 1)], ["train.csv"])

    assert job().previous() is None
    manifest = tmp_path / "train.csv"
    manifest.write_text("ID,duration,wav\na,3.5,/data/a.wav\n", "utf-8")
    done = job().finish({"kept": 1, "hours": 0.25})
    assert job().previous() == done == read_summary(tmp_path)

    def read():
        summary = job().previous()
        return summary and summary["kept"]

    assert_named_or_harmless(manifest, read, ValueError)
    for _ in damages(tmp_path / "prepare.json"):
        caplog.clear()
        summary = job().previous()  # either what was written, or prepare again
        assert summary == done or "prepare.json" in caplog.text or summary is None


@pytest.fixture(scope="module")
def trained(launcher, tmp_path_factory):
    """A recipe, and the folder of a run of it."""
    folder = tmp_path_factory.mktemp("damaged")
    recipe = runs.write_recipe(
        folder / "tiny.yaml",
        data_folder=str(runs.make_corpus(folder / "vox")),
        number_of_epochs=2,
        keep_checkpoints=2,
    )
    run = launcher.run(recipe, "--output_folder", folder / "whole")
    assert run.status == 0, run.output
    return recipe, folder / "whole"


@pytest.mark.recipe
@pytest.mark.parametrize(
    "name",
    ["results.json", "curves.jsonl", "data/prepare.json", "data/train.csv", "*.ckpt"],
)
def test_a_run_goes_on_or_refuses(launcher, trained, tmp_path, name):
    recipe, whole = trained
    for example in range(RUNS):
        folder = tmp_path / str(example)
        shutil.copytree(whole, folder)
        if name == "*.ckpt":
            path = runs.newest_checkpoint(folder) / "student.ckpt"
        else:
            path = folder / name
        for _ in damages(path, example + 2):
            text = path.read_bytes()
        path.write_bytes(text)
        run = launcher.run(recipe, "--output_folder", folder)
        assert "Traceback" not in run.output, run.output
        assert path.name in run.output
        if run.status:
            assert path.read_bytes() == text, "what is damaged was touched"
        else:
            ended, expected = (runs.results(each) for each in (folder, whole))
            assert ended["verification"] == expected["verification"]
            one, other = (runs.tensors(runs.states(x)) for x in (whole, folder))
            for key, value in one.items():
                if torch.is_tensor(value):
                    assert torch.equal(other[key], value), key
