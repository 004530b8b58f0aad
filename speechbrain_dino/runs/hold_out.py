"""Holds training speakers out: a corpus in VoxCeleb's layout with development trials.

Settings that are chosen on the lists that are reported are fitted to them. This makes
lists of speakers that would have been trained on, in a folder that every recipe takes.
"""

import logging
import os
import shutil
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile as sf
import torch

from speechbrain_dino.augment.channel import AddChannel
from speechbrain_dino.augment.crops import AddNoise, AddReverb, CropAugment
from speechbrain_dino.corpora.noise_rir import prepare_noise_rir
from speechbrain_dino.corpora.voxceleb import prepare_voxceleb
from speechbrain_dino.data.audio import read_utterance
from speechbrain_dino.data.manifest import Manifest
from speechbrain_dino.data.trials import Trials, write_trials
from speechbrain_dino.runs.usage import examples
from speechbrain_dino.utils.ending import end_on_signals
from speechbrain_dino.utils.errors import plain_errors
from speechbrain_dino.utils.options import Options, number
from speechbrain_dino.utils.ownership import claim
from speechbrain_dino.utils.progress import progress
from speechbrain_dino.utils.randomness import generator

logger = logging.getLogger(__name__)

CLEAN, DEGRADED = "development.txt", "development_degraded.txt"
SNR = (8, 20)
"""Of the noise in degraded copies, in dB."""
SAMPLE_RATE = 16000
_SPEAKERS, _PAIRS, _DAMAGE = range(3)


class HeldOut(NamedTuple):
    """What :func:`hold_out` made: numbers of speakers, utterances and trials."""

    speakers: int
    trained_on: int
    utterances: int
    trials: int


def main(arguments=None):
    """Command line of ``hold_out.py``; ``arguments`` as in ``sys.argv[1:]``."""
    given = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    end_on_signals()
    with plain_errors(ValueError, OSError, ImportError):
        held_out = hold_out(**vars(given))
    logger.info(
        "%d speakers are held out (%d utterances), %d are left to train on: %d trials "
        "in each of %s",
        held_out.speakers,
        held_out.utterances,
        held_out.trained_on,
        held_out.trials,
        ", ".join(
            sorted(path.name for path in Path(given.output_folder).glob("*.txt"))
        ),
    )
    return held_out


def _parser():
    parser = Options(description=examples())
    add = parser.add_argument
    add("--data_folder", required=True, help="corpus in VoxCeleb's layout")
    add("--output_folder", required=True, help="the corpus with development trials")
    add(
        "--trial_lists",
        nargs="*",
        default=[],
        help="lists that will be reported: their speakers are left out altogether",
    )
    add(
        "--speakers",
        type=number(int, low=2),
        default=40,
        help="speakers to hold out, of those with two utterances or more",
    )
    add("--seed", type=number(int, low=0), default=1, help="which speakers and pairs")
    add("--noise_folder", help="noises for the degraded copies")
    add("--rir_folder", help="rooms for the degraded copies; without both: no copies")
    add(
        "--min_duration",
        type=number(float, low=0),
        default=2.0,
        help="shortest utterance, in seconds",
    )
    return parser


def hold_out(
    data_folder,
    output_folder,
    trial_lists=(),
    speakers=40,
    seed=1,
    noise_folder=None,
    rir_folder=None,
    min_duration=2.0,
):
    """Makes a corpus of which some training speakers are in trial lists.

    The output folder gets ``wav/<speaker>/<session>/``, links to the utterances that
    training would use, and ``development.txt``: all pairs of utterances of a held-out
    speaker and as many of two speakers, drawn at random. With noises and rooms there
    are copies in ``<session>_degraded`` (a room, a channel and noise of 8 to 20 dB,
    all fixed by the seed) and ``development_degraded.txt``, whose test sides they are.

    Arguments
    ---------
    data_folder, output_folder : str or Path
        The corpus; a new folder, or one that this made.
    trial_lists : sequence of str
        Lists whose speakers take no part at all.
    speakers, seed : int
        How many to hold out; which ones, and which pairs.
    noise_folder, rir_folder : str, optional
        See ``corpora.noise_rir``.
    min_duration : float
        Shortest utterance, in seconds.

    Returns
    -------
    HeldOut

    Raises
    ------
    ValueError
        If too few speakers have two utterances, or one of noises and rooms is missing.
    """
    if bool(noise_folder) != bool(rir_folder):
        raise ValueError("give both noise_folder and rir_folder, or none of them")
    output = Path(output_folder)
    claim(output, "development")
    prepare_voxceleb(
        str(data_folder),
        output / "prepared",
        list(trial_lists),
        min_duration=min_duration,
    )
    manifest = Manifest.from_csv(output / "prepared" / "train.csv")
    of_speaker = {}
    for row, speaker in enumerate(manifest.column("spk_id")):
        of_speaker.setdefault(speaker, []).append(row)
    chosen = _chosen(of_speaker, speakers, seed)
    # Copies of an earlier choice would be trained on.
    shutil.rmtree(output / "wav", ignore_errors=True)
    for earlier in (CLEAN, DEGRADED):
        (output / earlier).unlink(missing_ok=True)
    names = [
        _linked(manifest[row], str(speaker), output / "wav")
        for row, speaker in enumerate(manifest.column("spk_id"))
    ]
    pairs = _pairs([of_speaker[speaker] for speaker in chosen], seed)
    _write(output / CLEAN, pairs, names, names)
    rows = sorted(row for speaker in chosen for row in of_speaker[speaker])
    if noise_folder:
        prepare_noise_rir(output / "prepared", noise_folder, rir_folder)
        degraded = _degraded(manifest, rows, names, output, seed)
        _write(output / DEGRADED, pairs, names, degraded)
    return HeldOut(len(chosen), len(of_speaker) - len(chosen), len(rows), len(pairs))


def _chosen(of_speaker, number, seed):
    """Speakers to hold out, in an order that the seed alone decides."""
    able = sorted(speaker for speaker, rows in of_speaker.items() if len(rows) > 1)
    if len(able) < number or len(of_speaker) <= number:
        raise ValueError(
            f"speakers={number}, but {len(able)} of {len(of_speaker)} training "
            "speakers have two utterances or more, and some must be left to train on: "
            "hold out fewer"
        )
    drawn = generator(seed, _SPEAKERS).choice(len(able), number, replace=False)
    return [able[place] for place in sorted(drawn)]


def _linked(utterance, speaker, folder):
    """Links an utterance's file into the corpus; returns its name there."""
    # A session is a video, and names of videos may have two dashes in them.
    session, name = utterance.id[len(speaker) + 2 :].rsplit("--", 1)
    link = folder / speaker / session / f"{name}{Path(utterance.wav).suffix.lower()}"
    link.parent.mkdir(parents=True, exist_ok=True)
    os.symlink(os.path.abspath(utterance.wav), link)
    return link.relative_to(folder).as_posix()


def _pairs(groups, seed):
    """(label, row, row): all pairs within groups, as many across, none twice."""
    within = [(1, *pair) for rows in groups for pair in combinations(rows, 2)]
    across = [
        (0, one, other)
        for rows, others in combinations(groups, 2)
        for one in rows
        for other in others
    ]
    drawn = generator(seed, _PAIRS).permutation(len(across))[: len(within)]
    return within + [across[place] for place in sorted(drawn)]


def _write(path, pairs, enrol, test):
    labels = np.array([label for label, _, _ in pairs], dtype=np.int8)
    sides = [enrol[one] for _, one, _ in pairs], [test[two] for _, _, two in pairs]
    write_trials(path, Trials(labels, *sides, str(path)))


def _degraded(manifest, rows, names, output, seed):
    """Writes copies through a room, a channel and noise; row -> name of the copy."""
    ranges = dict.fromkeys(("noise", "music", "speech"), SNR)
    prepared = output / "prepared"
    damage = CropAugment(
        AddReverb(str(prepared / "rir.csv"), prob=1.0),
        AddChannel(prob=1.0),
        AddNoise(str(prepared / "noise.csv"), snr=ranges, prob=1.0),
    )
    damage.load()
    copies = {}
    for row in progress(rows, desc="degrading", unit="utterance"):
        folder, session, name = names[row].split("/")
        copies[row] = f"{folder}/{session}_degraded/{Path(name).stem}.flac"
        wave = torch.from_numpy(read_utterance(manifest[row]))[None].float() / 32768
        draws = generator(seed, _DAMAGE, row).random((1, damage.num_draws))
        wave = damage(wave, draws=torch.from_numpy(draws.astype(np.float32)))[0]
        wave = wave / wave.abs().max().clamp(min=1.0)
        path = output / "wav" / copies[row]
        path.parent.mkdir(parents=True, exist_ok=True)
        sf.write(path, wave.numpy(), SAMPLE_RATE, subtype="PCM_16")
    return copies
