"""How many files of the package a piece of work crosses, and how often it changes file.

    python benchmarks/trips.py

Counted with ``sys.setprofile`` over calls into the package: one training step of
dino_mini.yaml, ``finish_run``, ``verify.py`` with all its ways to score, and one fold
of fine-tuning from its preparation to its inference folder, on small made-up corpora.
A move is a call into another file than that of the calling function of the package.
Each is a place where a reader has to look: fewer is better. The parts that a recipe
chooses (augmentation, features, encoder, head, objective) count as well.
"""

import argparse
import collections
import os
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = f"{ROOT / 'speechbrain_dino'}{os.sep}"
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
os.environ["CUDA_VISIBLE_DEVICES"] = ""


class Trips:
    """Counts files entered and moves between files while it is active."""

    def __init__(self):
        self.calls = collections.Counter()
        self.moves = collections.Counter()

    def __enter__(self):
        self.stack = []
        sys.setprofile(self._event)
        return self

    def __exit__(self, *_):
        sys.setprofile(None)

    def _event(self, frame, event, _):
        name = frame.f_code.co_filename
        if not name.startswith(PACKAGE) or event not in ("call", "return"):
            return
        if event == "return":
            if self.stack:
                self.stack.pop()
            return
        if frame.f_code.co_name != "<genexpr>":
            if not self.stack or self.stack[-1] != name:
                self.moves[name] += 1
            self.calls[name] += 1
        self.stack.append(name)

    @property
    def files(self):
        """Names of the files that were entered."""
        return sorted(name.removeprefix(PACKAGE) for name in self.calls)


def training_step_and_end(folder):
    """One step of dino_mini in the middle of an epoch, and ``finish_run``."""
    import recipe_runs as runs

    from speechbrain_dino.runs import train

    data = runs.make_corpus(folder / "vox")
    noises = runs.make_noises(folder / "noises")
    recipe = runs.write_recipe(
        folder / "tiny.yaml",
        base="dino_mini",
        data_folder=str(data),
        noise_folder=str(noises),
        log_every=1000,
        number_of_epochs=1,
    )
    command = [recipe, "--output_folder", folder / "run", "--num_workers", "0"]
    hparams, run_opts = train.start_run([str(part) for part in command])
    run = train.prepare(hparams, run_opts)
    brain = train.make_brain(run)
    step, fit_batch = Trips(), brain.fit_batch

    def traced(batch):
        if brain.step != 3:
            return fit_batch(batch)
        with step:
            return fit_batch(batch)

    brain.fit_batch = traced
    brain.fit(hparams["epoch_counter"], run.loader)
    end = Trips()
    with end:
        train.finish_run(brain, run)
    return step, end


def verification(folder):
    """``verify.py`` on the model that the training left."""
    from speechbrain_dino.runs.command_line import start_run
    from speechbrain_dino.runs.verify import run_verification

    verify = ROOT / "recipes" / "VoxCeleb" / "hparams" / "verify.yaml"
    command = [verify, "--model", folder / "run" / "inference", "--data_folder"]
    command += [folder / "vox", "--output_folder", folder / "verified"]
    command += ["--trial_lists", "[veri_test.txt]", "--bootstrap", "0"]
    trips = Trips()
    with trips:
        hparams, run_opts = start_run([str(part) for part in command])
        run_verification(hparams, run_opts)
    return trips


def fold_of_finetuning(folder):
    """The first fold of finetune_mini.yaml, one epoch, on a made-up emotion corpus."""
    import emotion_runs as emotions

    from speechbrain_dino.runs import finetune
    from speechbrain_dino.runs.command_line import run_emotion

    keys = {
        **emotions.SMALL,
        "data_folder": emotions.make_emotions(folder / "emotions"),
        "start_model": emotions.make_start_model(folder / "start"),
        "output_folder": folder / "finetuned",
        "main_epochs": 0,
    }
    recipe = ROOT / "recipes" / "CREMA-D" / "hparams" / "finetune_mini.yaml"
    trips, run_fold = Trips(), finetune._run_fold

    def traced(*arguments):
        if trips.calls:
            return run_fold(*arguments)
        with trips:
            return run_fold(*arguments)

    finetune._run_fold = traced
    try:
        run_emotion([str(recipe), *emotions.as_arguments(keys)])
    finally:
        finetune._run_fold = run_fold
    return trips


def main():
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--list", action="store_true", help="name the files as well")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        step, end = training_step_and_end(folder)
        rows = {"training step": step, "finish_run": end}
        rows["verify.py"] = verification(folder)
        rows["a fold of fine-tuning"] = fold_of_finetuning(folder)
    print(f"\n{'':24}{'files':>6}{'moves':>7}")
    for name, trips in rows.items():
        print(f"{name:24}{len(trips.calls):6}{sum(trips.moves.values()):7}")
        if arguments.list:
            for file in trips.files:
                path = PACKAGE + file
                print(f"    {file:40}{trips.calls[path]:6}{trips.moves[path]:7}")


if __name__ == "__main__":
    main()
