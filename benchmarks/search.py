"""Trains many settings of recipes side by side, and writes them in one table.

    python benchmarks/search.py settings.yaml --jobs 14 --output_folder results/search \
        --data_folder D --noise_folder N --rir_folder R \
        --trial_lists "[development_degraded.txt, development.txt]"

``settings.yaml`` names a recipe and its overrides for each setting:

    seeds: [1, 2]
    settings:
      base: [dino_koleo_mini.yaml, {}]
      sharper: [dino_koleo_mini.yaml, {koleo_weight: 0.3, base_lr: 0.008}]

``D`` comes from ``recipes/VoxCeleb/hold_out.py``: a choice among settings is none of
the lists that are reported. What is there is not trained again, settings may be added,
and the table is written after each run: EER, and what is known without any label.
"""

import argparse
import json
import logging
import os
import statistics
import sys
from pathlib import Path

from ruamel.yaml import YAML

from speechbrain_dino.runs.compare.processes import Run, own_threads, run_all
from speechbrain_dino.runs.compare.results import read_compared
from speechbrain_dino.training.curves import Curves
from speechbrain_dino.utils.ending import end_on_signals
from speechbrain_dino.utils.files import replacing

RECIPES = Path(__file__).resolve().parents[1] / "recipes" / "VoxCeleb"
LABEL_FREE = (
    "loss",
    "teacher_entropy",
    "kl",
    "prototypes_used",
    "effective_rank",
    "neighbor_agreement",
)
"""Metrics of the last epoch."""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("settings", type=Path)
    parser.add_argument("--output_folder", type=Path, default=Path("results/search"))
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time")
    parser.add_argument("--gpus", type=int, default=0, help="spread over so many")
    given, options = parser.parse_known_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    end_on_signals()
    spec = YAML(typ="safe").load(given.settings)
    todo, rows = [], []
    for seed in spec.get("seeds", [1]):
        for name, (recipe, overrides) in spec["settings"].items():
            folder = given.output_folder / name.replace(" ", "_") / str(seed)
            rows.append((name, recipe, overrides, seed, folder))
            if read_compared(folder, name, seed).status.startswith(("done", "coll")):
                continue
            command = [sys.executable, str(RECIPES / "train.py")]
            command += [str(RECIPES / "hparams" / recipe), *options]
            for key, value in overrides.items():
                command += [f"--{key}", value if isinstance(value, str) else str(value)]
            command += ["--seed", str(seed), "--output_folder", str(folder)]
            if given.gpus:
                command += ["--device", f"cuda:{len(todo) % given.gpus}"]
            todo.append(Run(f"{name}, seed {seed}", command, folder, 0))
    given.output_folder.mkdir(parents=True, exist_ok=True)
    environment = own_threads(given.jobs)
    for _ in run_all(todo, given.jobs, environment):
        write_table(rows, given.output_folder)
    print(write_table(rows, given.output_folder))


def write_table(rows, output):
    """Means over seeds, a line for each setting, best first; also as JSON."""
    settings = {}
    for name, recipe, overrides, seed, folder in rows:
        entry = settings.setdefault(
            name, {"recipe": recipe, "overrides": overrides, "runs": []}
        )
        run = read_compared(folder, name, seed)
        metrics = {k: v for k, v in run.figures.items() if k.startswith("eer/")}
        metrics["minutes"] = run.figures.get("minutes")
        epochs = [row for row in Curves(folder).read() if row["kind"] == "epoch"]
        last = epochs[-1] if epochs else {}
        metrics |= {name: last[name] for name in LABEL_FREE if name in last}
        entry["runs"].append({"seed": seed, "status": run.status, "metrics": metrics})
    lists = sorted(
        {
            k
            for e in settings.values()
            for r in e["runs"]
            for k in r["metrics"]
            if k.startswith("eer/")
        },
        reverse=True,
    )
    columns = [*lists, "minutes", *LABEL_FREE]
    lines = [["setting", "seeds", *columns]]
    for name, entry in settings.items():
        done = [r["metrics"] for r in entry["runs"] if "minutes" in r["metrics"]]
        done = [r for r in done if any(key in r for key in lists)]
        cells = [_mean([r.get(key) for r in done], key) for key in columns]
        lines.append([name, str(len(done)), *cells])
    order = sorted(lines[1:], key=lambda line: (line[2] == "", line[2].zfill(9)))
    text = "\n".join(
        f"| {' | '.join(line)} |"
        for line in [lines[0], ["---"] * len(lines[0]), *order]
    )
    with replacing(output / "search.json") as draft:
        draft.write_text(json.dumps(settings, indent=1), encoding="utf-8")
    with replacing(output / "search.md") as draft:
        draft.write_text(text + os.linesep, encoding="utf-8")
    return text


def _mean(values, name):
    values = [value for value in values if value is not None]
    if not values:
        return ""
    factor = 100 if name.startswith("eer/") else 1
    mean = f"{factor * statistics.mean(values):.4g}"
    if len(values) > 1 and factor == 100:
        mean += f" ± {factor * statistics.stdev(values):.1f}"
    return mean


if __name__ == "__main__":
    main()
