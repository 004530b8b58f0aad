#!/usr/bin/env python3
"""Loss gate and label correction on labels of which a known share is wrong.

    python benchmarks/label_noise.py --data_folder F --start_model M
    python benchmarks/label_noise.py --synthetic

Cuts the training utterances into short segments, gives each its true speaker's label,
a share of them another speaker's, and trains the mini recipe on them: without a gate,
with gate and correction and, for the floor, on the right labels. Prints a row each: EER
of the trial lists and, of the last epoch, what was gated and corrected, and how often
rightly. Further options, such as --noise_folder, go to the recipe. The same command
resumes where it was stopped.
"""

import argparse
import json
import subprocess
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np

from speechbrain_dino.corpora.synthetic import make_synthetic_corpus
from speechbrain_dino.data.manifest import Manifest
from speechbrain_dino.runs.command_line import Launch
from speechbrain_dino.runs.recipe_yaml import read_recipe
from speechbrain_dino.utils.files import replacing

RECIPE = Path(__file__).resolve().parents[1] / "recipes" / "VoxCeleb"
YAML = RECIPE / "hparams" / "pseudo_labels_mini.yaml"
RATE = 16000
WAYS = {
    "gate and correction": ("flipped", []),
    "no gate": ("flipped", ["--gate", "null", "--correction", "null"]),
    "right labels, no gate": ("right", ["--gate", "null", "--correction", "null"]),
}
KEYS = """
prepare: !name:os.getcwd        # the benchmark has prepared
affine_epochs: 3
main_epochs: 27
batch_size: 64
validate_every: 30
gate: !new:speechbrain_dino.losses.label_gates.DynamicGate
    start_epoch: 8
    memory: 0.8
    with_margin: False
correction: !new:speechbrain_dino.losses.label_gates.LabelCorrection
    start_epoch: 12
"""


def prepared(folder, data, seconds):
    """Segments of the training part, in ``train.csv`` beside the trial lists."""
    keys = {"data_folder": str(data), "data_save_folder": str(folder)}
    Launch(read_recipe(YAML), {}, str(YAML), None).changed(**keys).build()["prepare"]()
    manifest = Manifest.from_csv(folder / "train.csv")
    counts = Counter(manifest.column("spk_id"))
    rows = []
    for number in range(len(manifest)):
        whole = manifest[number]
        if counts[whole.spk_id] < 4:
            continue
        length = whole.stop - whole.start
        parts = max(int(length / (seconds * RATE)), 1) if seconds else 1
        edges = np.linspace(whole.start, whole.stop, parts + 1).astype(int).tolist()
        for part, (start, stop) in enumerate(pairwise(edges)):
            row = {"ID": f"{whole.id}--{part}", "duration": (stop - start) / RATE}
            row |= {"wav": whole.wav, "start": start, "stop": stop}
            rows.append(row | {"spk_id": whole.spk_id})
    segments = Manifest.from_rows(rows)
    segments.to_csv(folder / "train.csv")
    return segments


def write_labels(manifest, path, flipped, seed):
    """Labels of the speakers, a share of them wrong."""
    names = np.array([str(name) for name in manifest.column("spk_id")])
    speakers, labels = np.unique(names, return_inverse=True)
    rng = np.random.default_rng(seed)
    wrong = rng.permutation(len(labels))[: round(flipped * len(labels))]
    labels[wrong] += rng.integers(1, len(speakers), len(wrong))
    labels[wrong] %= len(speakers)
    with replacing(path) as draft:
        lines = (f"{name},{label}\n" for name, label in zip(manifest.ids, labels))
        draft.write_text("ID,label\n" + "".join(lines), encoding="utf-8")
    return len(labels), len(speakers)


def train(folder, labels, options):
    """Runs the recipe, unless it has been; returns its results.json."""
    path = folder / "results.json"
    if not path.exists() or "verification" not in json.loads(
        path.read_text(encoding="utf-8")
    ):
        command = [sys.executable, "train.py", str(folder.parent / "recipe.yaml")]
        command += ["--labels_file", str(labels), "--output_folder", str(folder)]
        subprocess.run([*command, *options], cwd=RECIPE, check=True)
    return json.loads(path.read_text(encoding="utf-8"))


def show(way, results):
    """Prints a row."""
    parts, health = [f"{way:22}"], results["health"]
    for name, metrics in results["verification"].items():
        parts.append(f"{name} {100 * metrics['eer']:.2f} %")
    for key in ("gated", "corrected"):
        parts.append(f"{key} {100 * health.get(key, 0):.1f} %")
    for key in ("kept", "gated", "corrected"):
        if f"{key}_precision" in health:
            parts.append(f"{key} precision {health[f'{key}_precision']:.3f}")
    print(", ".join(parts), flush=True)


def main():
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data_folder", help="corpus in VoxCeleb's layout")
    parser.add_argument("--synthetic", action="store_true", help="generated here")
    parser.add_argument("--flipped", type=float, default=0.3)
    parser.add_argument("--segment_seconds", type=float, default=1.5, help="0: whole")
    parser.add_argument("--seed", type=int, default=1234)
    parser.add_argument("--output_folder", default="results/label_noise")
    args, options = parser.parse_known_args()
    output = Path(args.output_folder).resolve()
    data = args.data_folder
    if args.synthetic:
        data = output / "corpus"
        make_synthetic_corpus(data)
    output.mkdir(parents=True, exist_ok=True)
    manifest = prepared(output / "data", data, args.segment_seconds)
    lines = [f"extends: {YAML}", f"data_folder: {data}", "truth: spk_id"]
    lines += [f"data_save_folder: {output / 'data'}"]
    lines += [f"chunk_seconds: {args.segment_seconds or 2.5}", KEYS]
    (output / "recipe.yaml").write_text("\n".join(lines), encoding="utf-8")
    for name, share in (("right", 0.0), ("flipped", args.flipped)):
        size = write_labels(manifest, output / f"{name}.csv", share, args.seed)
    print("{} segments of {} speakers".format(*size), flush=True)
    for way, (labels, more) in WAYS.items():
        folder = output / way.replace(" ", "_").replace(",", "")
        show(way, train(folder, output / f"{labels}.csv", [*more, *options]))


if __name__ == "__main__":
    main()
