#!/usr/bin/env python
"""Memory and time of a manifest of VoxCeleb2's size (1.1 million utterances).

To run:
> python benchmarks/manifest_memory.py [--rows 1092009] [--speech]

Writes a CSV of made-up rows, reads it in a process of its own, and prints the
growth of that process's resident memory. ``--speech`` adds five runs of speech
per row, as the energy VAD would.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def write_rows(path, rows, speech):
    """Writes made-up rows in VoxCeleb2's layout: 7 utterances a session."""
    with open(path, "w", encoding="utf-8") as file:
        print("ID,duration,wav,start,stop,spk_id", end="", file=file)
        print(",speech" if speech else "", file=file)
        runs = ";".join(f"{k * 24000}-{k * 24000 + 20000}" for k in range(5))
        for i in range(rows):
            speaker = f"id{i // 7 % 5994:05d}"
            session, number = f"{i // 7:011d}", f"{i % 7:05d}"
            name = f"{speaker}/{session}/{number}.wav"
            print(
                f"{speaker}--{session}--{number},8.0,/data/vox2/dev/wav/{name},0,128000,"
                f"{speaker}{',' + runs if speech else ''}",
                file=file,
            )


def resident_bytes():
    """Resident memory of this process now, in bytes (Linux)."""
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def read(path):
    """Reads the manifest and prints what it took."""
    from speechbrain_dino.data.manifest import Manifest

    before, start = resident_bytes(), time.perf_counter()
    manifest = Manifest.from_csv(path)
    seconds = time.perf_counter() - start
    held = resident_bytes() - before
    start = time.perf_counter()
    for i in range(0, len(manifest), max(len(manifest) // 20000, 1)):
        manifest[i]
    row = (time.perf_counter() - start) / min(len(manifest), 20000)
    print(
        f"{len(manifest)} rows: {held / 1e9:.3f} GB resident "
        f"({held / len(manifest):.0f} bytes a row), read in {seconds:.1f} s, "
        f"{row * 1e6:.1f} us a row fetched"
    )


def main():
    """Parses the command line and measures in a fresh process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_092_009)
    parser.add_argument("--speech", action="store_true")
    parser.add_argument("--read", metavar="CSV", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.read:
        read(options.read)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "train.csv")
        write_rows(path, options.rows, options.speech)
        subprocess.run([sys.executable, __file__, "--read", path], check=True)


if __name__ == "__main__":
    main()
