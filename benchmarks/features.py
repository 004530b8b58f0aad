"""Milliseconds of a CPU core per utterance of augmentation and log-mels.

    python benchmarks/features.py [--noise_folder N --rir_folder R]

An utterance is 2 crops of 4 s and 4 of 2 s, of which 45 % get a room and 70 % noise, as
in dino.yaml; batches of 8, in turns, medians of 15, the time of this thread alone, so
that other work on the machine hardly counts. Without folders noises and rooms are made.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch
from speechbrain.lobes.features import Fbank
from train_step import write_noises

from speechbrain_dino.augment.channel import AddChannel
from speechbrain_dino.augment.crops import AddNoise, AddReverb
from speechbrain_dino.augment.telephone import AddTelephone
from speechbrain_dino.corpora.noise_rir import prepare_noise_rir
from speechbrain_dino.models.features import FastFbank, MeanNorm
from speechbrain_dino.models.kaldi_features import KaldiFbank

BATCH, TURNS = 8, 15
CROPS = ((2, 4.0), (4, 2.0))
RATE = 16000
MELS = {"n_mels": 80, "f_min": 20, "f_max": 7600, "n_fft": 512}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--noise_folder")
    parser.add_argument("--rir_folder")
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    views = [0.1 * torch.randn(n * BATCH, round(RATE * s)) for n, s in CROPS]
    with tempfile.TemporaryDirectory() as folder:
        if args.noise_folder:
            prepare_noise_rir(folder, args.noise_folder, args.rir_folder, num_workers=1)
        else:
            write_noises(Path(folder))
        works = dict(augmentations(Path(folder), views))
    features = Fbank(**MELS), FastFbank(**MELS), KaldiFbank(f_max=7600)
    names = "log-mels, SpeechBrain's", "log-mels, FastFbank", "log-mels, KaldiFbank"
    for name, module in zip(names, features):
        works[name] = partial_of(module, views)
    feats = [features[1](view) for view in views]
    works["mean of the crop"] = partial_of(MeanNorm(), feats)
    works["mean of 3 s, sliding"] = partial_of(MeanNorm(3.0), feats)
    seconds = {name: [] for name in works}
    with torch.no_grad():
        for turn in range(TURNS + 1):
            for name, work in works.items():
                begin = time.thread_time()
                work()
                if turn:
                    seconds[name].append(time.thread_time() - begin)
    for name, values in seconds.items():
        print(f"{name:26}{1000 * statistics.median(values) / BATCH:7.2f} ms")


def augmentations(folder, views):
    steps = {
        "rooms": AddReverb(folder / "rir.csv", prob=0.45),
        "noise": AddNoise(folder / "noise.csv", prob=0.7),
        "channels (dino_mini.yaml)": AddChannel(prob=0.5),
        "telephone": AddTelephone(prob=0.3),
    }
    for name, step in steps.items():
        step.load()
        draws = [torch.rand(len(view), step.num_draws) for view in views]
        yield name, partial_of(step, views, draws)


def partial_of(module, views, draws=None):
    """One call for each length of crops."""

    def work():
        for number, view in enumerate(views):
            module(view) if draws is None else module(view, draws=draws[number])

    return work


if __name__ == "__main__":
    main()
