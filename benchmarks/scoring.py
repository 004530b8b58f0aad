"""Seconds and memory of scoring at VoxCeleb's size, and SpeechBrain's loop beside it.

    python benchmarks/scoring.py [--threads 2] [--loop_trials 400]

Embeddings are generated: the time does not depend on their values. Speakers have one
center each, so that the error rates are those of a real system. Each part runs in a
process of its own, whose peak memory it prints; seconds of the CPU, summed over
threads, show what other work on the machine hides. SpeechBrain's recipe
(speaker_verification_cosine.py, adaptive S-norm) goes trial by trial: cosine with the
whole cohort, its top n, their mean and standard deviation, for both sides. It is timed
on the first ``--loop_trials`` trials, and its scores are compared with ours.
"""

import argparse
import multiprocessing
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from speechbrain_dino.data.trials import read_trials
from speechbrain_dino.metrics.verification import operating_points
from speechbrain_dino.scoring.cosine import as_norm, summarize

DIM, TOP_N = 192, 300


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--loop_trials", type=int, default=400)
    args = parser.parse_args()
    print(f"{args.threads} threads, {DIM} dimensions, adaptive S-norm top {TOP_N}\n")
    print(
        "| trials | utterances | cohort | scores (s) | metrics (s) | both, CPU (s) | "
        "peak memory (GB) |\n|---|---|---|---|---|---|---|"
    )
    for trials in (55_254, 552_536, 5_525_360):
        apart(args.threads, voxceleb_h, trials)
    print()
    apart(args.threads, against_speechbrain, args.loop_trials)
    print()
    apart(args.threads, ten_million)
    apart(args.threads, list_of_trials)


def apart(threads, part, *arguments):
    """Runs a part in a fresh process, for its own peak of memory."""
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=start, args=(threads, part, arguments))
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(process.exitcode)


def start(threads, part, arguments):
    torch.set_num_threads(threads)
    part(*arguments)


def generate(rng, utterances, cohort, trials, speakers=1190):
    """Embeddings, cohort, labels and rows of half target and half other trials."""
    centers = rng.standard_normal((speakers, DIM), dtype=np.float32)
    speaker = np.arange(utterances) % speakers
    noise = rng.standard_normal((utterances, DIM), dtype=np.float32)
    embeddings = centers[speaker] + 2.3 * noise
    enrol = rng.integers(0, utterances, trials)
    # Every utterance is in a trial, as in VoxCeleb1-H.
    enrol[:utterances] = np.arange(min(utterances, trials))
    same = (enrol + speakers * rng.integers(1, 50, trials)) % utterances
    test = np.where(np.arange(trials) % 2, same, rng.integers(0, utterances, trials))
    labels = (speaker[enrol] == speaker[test]).astype(np.int8)
    others = rng.standard_normal((cohort, DIM), dtype=np.float32)
    return embeddings, others, labels, enrol, test


def voxceleb_h(trials):
    """A row of the table: VoxCeleb1-H's utterances, more or fewer trials."""
    data = generate(np.random.default_rng(0), 137_924, 5_994, trials)
    embeddings, cohort, labels, enrol, test = data
    used = len(np.union1d(enrol, test))
    begin, cpu = time.perf_counter(), time.process_time()
    scores = as_norm(embeddings, cohort, enrol, test, TOP_N)
    middle = time.perf_counter()
    summarize(labels, scores)
    end = time.perf_counter()
    print(
        f"| {trials:,} | {used:,} | {len(cohort):,} | {middle - begin:.2f} | "
        f"{end - middle:.2f} | {time.process_time() - cpu:.1f} | {peak():.2f} |",
        flush=True,
    )


def against_speechbrain(loop_trials):
    """VoxCeleb1-O's size, cleaned list, cohort of 20,000 utterances."""
    data = generate(np.random.default_rng(0), 4_708, 20_000, 37_611, speakers=40)
    embeddings, cohort, _, enrol, test = data
    begin = time.perf_counter()
    ours = as_norm(embeddings, cohort, enrol, test, TOP_N)
    seconds = time.perf_counter() - begin
    # A first trial outside the clock: memory is mapped, threads are started.
    speechbrain_loop(embeddings, cohort, enrol[:1], test[:1])
    begin = time.perf_counter()
    theirs = speechbrain_loop(
        embeddings, cohort, enrol[:loop_trials], test[:loop_trials]
    )
    per_trial = (time.perf_counter() - begin) / len(theirs)
    whole = per_trial * len(enrol)
    difference = np.abs(theirs - ours[: len(theirs)]).max()
    print(
        f"VoxCeleb1-O size, {len(enrol):,} trials, cohort of {len(cohort):,}: "
        f"{seconds:.2f} s\nSpeechBrain's loop: {1000 * per_trial:.1f} ms a trial over "
        f"{len(theirs):,} trials, {whole:.0f} s for all at that rate; "
        f"{whole / seconds:.0f} times as long\nlargest difference of a score: "
        f"{difference:.1e}",
        flush=True,
    )


def speechbrain_loop(embeddings, cohort, enrol, test):
    """Scores (M,), trial by trial with the operations of SpeechBrain's recipe."""
    similarity = torch.nn.CosineSimilarity(dim=-1, eps=1e-6)
    embeddings, cohort = torch.from_numpy(embeddings), torch.from_numpy(cohort)
    scores = []
    for left, right in zip(enrol, test):
        enrolled, tested = embeddings[left][None, None], embeddings[right][None, None]
        repeated = enrolled.repeat(cohort.shape[0], 1, 1)
        against = similarity(repeated, cohort[:, None])
        against = torch.topk(against, k=TOP_N, dim=0)[0]
        mean_e, std_e = torch.mean(against, dim=0), torch.std(against, dim=0)
        repeated = tested.repeat(cohort.shape[0], 1, 1)
        against = similarity(repeated, cohort[:, None])
        against = torch.topk(against, k=TOP_N, dim=0)[0]
        mean_t, std_t = torch.mean(against, dim=0), torch.std(against, dim=0)
        score = similarity(enrolled, tested)[0]
        by_enrol, by_test = (score - mean_e) / std_e, (score - mean_t) / std_t
        scores.append((0.5 * (by_enrol + by_test)).item())
    return np.array(scores)


def ten_million():
    """EER and both costs of ten million scores, half of them targets."""
    scores = np.random.default_rng(0).standard_normal(10_000_000, dtype=np.float32)
    targets, nontargets = scores[:5_000_000] + 3, scores[5_000_000:]
    begin = time.perf_counter()
    points = operating_points(targets, nontargets)
    rate, cost, other = (
        points.eer()[0],
        points.min_dcf(0.01)[0],
        points.min_dcf(0.05)[0],
    )
    seconds = time.perf_counter() - begin
    print(
        f"10,000,000 scores: EER {100 * rate:.3f} %, minDCF(0.01) {cost:.4f}, "
        f"minDCF(0.05) {other:.4f} in {seconds:.2f} s, peak {peak():.2f} GB"
    )


def list_of_trials():
    """A list as long as VoxCeleb1-H, from the page cache."""
    line = "1 id10270/x6uYqmx31kE/00001.wav id10270/8jEAjG6SegY/00008.wav\n"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "list.txt"
        path.write_text(line * 552_536, encoding="utf-8")
        begin = time.perf_counter()
        trials = read_trials(path)
        seconds = time.perf_counter() - begin
    print(f"{len(trials.enrol):,} trials read in {seconds:.2f} s, peak {peak():.2f} GB")


def peak():
    """Peak resident memory of this process in GB (Linux counts in KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


if __name__ == "__main__":
    main()
