#!/usr/bin/env python3
"""Loss gate and label correction on labels of which a known share is wrong.

    python benchmarks/label_noise.py --data_folder F [--flipped 0.3] [--output_folder O]
    python benchmarks/label_noise.py --synthetic

Takes the true speakers of the training part, gives a share of the utterances another
speaker's label, and trains the mini recipe on them from scratch: without a gate, with
the gate, with gate and correction, and, for the floor, on the right labels. Prints a
row each: EER of the trial lists and, of the last epoch, the shares gated and corrected
and their precision. The same command goes on where it was stopped.
"""

import argparse
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np

from speechbrain_dino.command_line import Launch
from speechbrain_dino.corpora.synthetic import make_synthetic_corpus
from speechbrain_dino.files import replacing
from speechbrain_dino.manifest import Manifest
from speechbrain_dino.recipe_yaml import read_recipe

RECIPE = Path(__file__).resolve().parents[1] / "recipes" / "VoxCeleb"
YAML = RECIPE / "hparams" / "pseudo_labels_mini.yaml"
WAYS = {
    "right labels, no gate": ("right", ["--gate", "null", "--correction", "null"]),
    "no gate": ("flipped", ["--gate", "null", "--correction", "null"]),
    "gate": ("flipped", ["--correction", "null"]),
    "gate and correction": ("flipped", []),
}


def write_labels(manifest, path, flipped, least, seed):
    """Labels of the speakers with ``least`` utterances or more, some of them wrong."""
    speakers = np.array([str(name) for name in manifest.column("spk_id")])
    counts = Counter(speakers)
    chosen = sorted(name for name, count in counts.items() if count >= least)
    number = {name: label for label, name in enumerate(chosen)}
    labels = np.array([number.get(name, -1) for name in speakers])
    rng = np.random.default_rng(seed)
    rows = np.flatnonzero(labels >= 0)
    wrong = rng.permutation(rows)[: round(flipped * len(rows))]
    labels[wrong] += rng.integers(1, len(chosen), len(wrong))
    labels[wrong] %= len(chosen)
    with replacing(path) as draft:
        lines = (f"{name},{label}\n" for name, label in zip(manifest.ids, labels))
        draft.write_text("ID,label\n" + "".join(lines), encoding="utf-8")
    return len(rows), len(chosen)


def train(folder, data, labels, options):
    """Runs the recipe; returns its results.json."""
    command = [sys.executable, "train.py", str(YAML), "--data_folder", str(data)]
    command += ["--data_save_folder", str(folder.parent / "data"), "--truth", "spk_id"]
    command += ["--output_folder", str(folder), "--labels_file", str(labels), *options]
    if not (folder / "results.json").exists() or "verification" not in json.loads(
        (folder / "results.json").read_text()
    ):
        subprocess.run(command, cwd=RECIPE, check=True)
    return json.loads((folder / "results.json").read_text())


def main():
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data_folder", help="corpus in VoxCeleb's layout")
    parser.add_argument("--synthetic", action="store_true", help="made on the spot")
    parser.add_argument("--flipped", type=float, default=0.3)
    parser.add_argument("--least", type=int, default=4, help="utterances a speaker")
    parser.add_argument("--seed", type=int, default=1234)
    parser.add_argument("--output_folder", default="results/label_noise")
    known, options = parser.parse_known_args()
    output = Path(known.output_folder).resolve()
    data = known.data_folder
    if known.synthetic:
        data = output / "corpus"
        make_synthetic_corpus(data)
    keys = {"data_folder": str(data), "data_save_folder": str(output / "data")}
    launch = Launch(read_recipe(YAML), "", str(YAML), None).changed(**keys)
    prepare = launch.build()["prepare"]
    prepare()
    manifest = Manifest.from_csv(output / "data" / "train.csv")
    for name, share in (("right", 0.0), ("flipped", known.flipped)):
        path = output / f"{name}.csv"
        size = write_labels(manifest, path, share, known.least, known.seed)
    print("{} utterances of {} speakers".format(*size))
    for way, (labels, more) in WAYS.items():
        folder = output / way.replace(" ", "_").replace(",", "")
        results = train(folder, data, output / f"{labels}.csv", [*more, *options])
        health = results["health"]
        shown = [f"{way:22}"]
        for name, figures in results["verification"].items():
            shown.append(f"{name} {100 * figures['eer']:.2f} %")
        for key in ("gated", "corrected"):
            shown.append(f"{key} {100 * health.get(key, 0):.1f} %")
        for key in ("kept", "gated", "corrected"):
            if f"{key}_precision" in health:
                shown.append(f"{key} precision {health[f'{key}_precision']:.3f}")
        print(", ".join(shown), flush=True)


if __name__ == "__main__":
    main()
