"""Milliseconds per utterance of the multi-crop loader, one process, one thread.

    python benchmarks/loader.py [--folder DIR_OF_WAV] [--format FLAC]

Without a folder, 300 WAV files of 8 s are generated. Files are read once before, so
that the disk is not measured.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile as sf
import torch

from speechbrain_dino.data.crops import MultiCropDataset
from speechbrain_dino.data.manifest import Manifest


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder")
    parser.add_argument("--format", default="WAV")
    parser.add_argument("--seconds", type=float, default=8.0, help="of generated files")
    parser.add_argument("--batch_size", type=int, default=32)
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as generated:
        folder = Path(args.folder or generated)
        if args.folder is None:
            generate(folder, args.format, args.seconds)
        rows = [row(path) for path in sorted(folder.rglob(f"*.{args.format.lower()}"))]
        rows = [r for r in rows if r["duration"] >= 4.0]
        dataset = MultiCropDataset(Manifest.from_rows(rows), num_draws=26)
        passes = [one_pass(dataset, epoch, args.batch_size) for epoch in range(6)][1:]
    print(
        f"{len(rows)} {args.format} files, 2 x 4 s + 4 x 2 s crops, batches of "
        f"{args.batch_size}, 26 draws a crop"
    )
    print(
        f"{1000 * statistics.median(passes):.3f} ms per utterance (median of 5 "
        f"passes, {1000 * min(passes):.3f} to {1000 * max(passes):.3f})"
    )


def generate(folder, kind, seconds):
    rng = np.random.default_rng(0)
    for number in range(300):
        samples = rng.normal(0, 1000, round(16000 * seconds)).astype(np.int16)
        sf.write(folder / f"{number}.{kind.lower()}", samples, 16000, format=kind)


def row(path):
    info = sf.info(path)
    return {
        "ID": str(path),
        "duration": info.duration,
        "wav": str(path),
        "start": 0,
        "stop": info.frames,
    }


def one_pass(dataset, epoch, batch_size):
    """Seconds per utterance of reading, cutting and collating every utterance."""
    begin = time.perf_counter()
    for first in range(0, len(dataset), batch_size):
        last = min(first + batch_size, len(dataset))
        dataset.batch([(epoch, item) for item in range(first, last)])
    return (time.perf_counter() - begin) / len(dataset)


if __name__ == "__main__":
    main()
