#!/usr/bin/env python3
"""Clustering at VoxCeleb2's size, and k-means beside scikit-learn's.

    python benchmarks/clustering.py 10000 100000 1092009
    python benchmarks/clustering.py --against_sklearn

Embeddings of known structure are generated: speakers of unequal numbers of utterances,
sessions within speakers, noise of unequal strength. Each size is clustered as the paper
does VoxCeleb2: k-means to 50,000 of 1,092,009, agglomerative clustering to 7,500, in
proportion elsewhere. Prints seconds of each stage, the largest memory of the process,
NMI and purity against the speakers.
"""

import argparse
import resource
import time

import numpy as np
from sklearn.cluster import KMeans as SklearnKMeans

from speechbrain_dino.clustering.clusterers import KMeansAHC
from speechbrain_dino.clustering.kmeans import fit_kmeans

FULL, SPEAKERS, MEANS, CLUSTERS = 1_092_009, 5994, 50_000, 7500


def speaker_embeddings(utterances, speakers, dim=192, seed=0, session=0.6, noise=0.8):
    """Unit embeddings (N, dim) and the speaker (N,) of each."""
    rng = np.random.default_rng(seed)
    share = rng.lognormal(0, 0.5, speakers)
    counts = 1 + rng.multinomial(utterances - speakers, share / share.sum())
    speaker = np.repeat(np.arange(speakers), counts)
    place = np.arange(utterances) - np.repeat(np.cumsum(counts) - counts, counts)
    sessions = np.maximum(1, counts // 8)
    first = np.cumsum(sessions) - sessions
    session_of = first[speaker] + place * sessions[speaker] // counts[speaker]
    # Directions of unequal variance, as in real embeddings.
    scale = np.arange(1, dim + 1, dtype=np.float32) ** -0.5
    scale /= np.sqrt((scale**2).mean())
    normal = rng.standard_normal
    vectors = (normal((speakers, dim), dtype=np.float32) * scale)[speaker]
    means = normal((sessions.sum(), dim), dtype=np.float32) * np.sqrt(session * scale)
    vectors += means[session_of]
    level = np.sqrt(noise) * np.exp(0.25 * normal(speakers)).astype(np.float32)
    for start in range(0, utterances, 65_536):
        part = slice(start, start + 65_536)
        drawn = normal(vectors[part].shape, dtype=np.float32)
        vectors[part] += drawn * level[speaker[part], None]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors, speaker


def cluster(utterances):
    """Clusters one size and prints its row."""
    part = utterances / FULL
    speakers = max(2, round(SPEAKERS * part))
    means, clusters = round(MEANS * part), round(CLUSTERS * part)
    vectors, speaker = speaker_embeddings(utterances, speakers)
    begun = time.perf_counter()
    clustering = KMeansAHC(num_means=means, num_clusters=clusters)(vectors)
    seconds = time.perf_counter() - begun
    stages = clustering.summary["seconds"]
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    truth = clustering.against([str(name) for name in speaker])
    print(
        f"{utterances} x {vectors.shape[1]}, {speakers} speakers, {means} means, "
        f"{clusters} clusters: {seconds:.0f} s ("
        + ", ".join(f"{name} {value:.0f}" for name, value in stages.items())
        + f"), {memory:.2f} GiB, NMI {truth['nmi']:.3f}, purity {truth['purity']:.3f}",
        flush=True,
    )


def against_sklearn(utterances=100_000, clusters=5000):
    """K-means of this package and scikit-learn's on the same unit vectors."""
    vectors, _ = speaker_embeddings(utterances, 1000)
    seconds, inertia = {}, {}
    begun = time.perf_counter()
    inertia["speechbrain_dino"] = fit_kmeans(vectors, clusters).inertia[-1]
    seconds["speechbrain_dino"] = time.perf_counter() - begun
    begun = time.perf_counter()
    fitted = SklearnKMeans(clusters, n_init=1, random_state=0).fit(vectors)
    seconds["scikit-learn"] = time.perf_counter() - begun
    # The means on the sphere: what both are judged by.
    sums = np.zeros_like(fitted.cluster_centers_)
    np.add.at(sums, fitted.labels_, vectors)
    lengths = np.linalg.norm(sums, axis=1).sum(dtype=np.float64)
    inertia["scikit-learn"] = 2 * (utterances - float(lengths))
    for name in seconds:
        print(f"{name:18} {seconds[name]:7.1f} s, inertia {inertia[name]:.1f}")
    ratio = seconds["scikit-learn"] / seconds["speechbrain_dino"]
    print(f"{ratio:.1f} times as fast", flush=True)


def main():
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sizes", type=int, nargs="*", help="numbers of utterances")
    parser.add_argument("--against_sklearn", action="store_true")
    args = parser.parse_args()
    for size in args.sizes:
        cluster(size)
    if args.against_sklearn:
        against_sklearn()


if __name__ == "__main__":
    main()
