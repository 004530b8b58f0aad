"""Embeddings made ready to be clustered."""

import numpy as np
from sklearn.decomposition import PCA

from speechbrain_dino.neighbours import scaled_to_unit
from speechbrain_dino.pairs import unit_rows


def unit_points(embeddings, pca_variance=None):
    """Scales embeddings to length 1, perhaps in fewer dimensions.

    With ``pca_variance`` the scaled embeddings are centred, projected onto the
    principal directions that keep this share of their variance, and scaled again.

    Arguments
    ---------
    embeddings : array, shape (N, D)
        One embedding a row; may be mapped into memory.
    pca_variance : float, optional
        Share of variance to keep, between 0 and 1.

    Returns
    -------
    numpy.ndarray, shape (N, D')
        float32.

    Raises
    ------
    ValueError
        If the shape is another, there are fewer than two embeddings, one is zero or
        not finite, or all have one direction.

    Example
    -------
    >>> unit_points([[3.0, 4.0], [0.0, 2.0]]).round(6).tolist()
    [[0.6000000238418579, 0.800000011920929], [0.0, 1.0]]
    """
    embeddings = np.asarray(embeddings)
    if embeddings.ndim != 2 or len(embeddings) < 2:
        raise ValueError(
            "clustering needs at least two embeddings, one a row (N, D), was given "
            f"shape {embeddings.shape}"
        )
    points = unit_rows(embeddings, slice(None), "the embeddings").numpy()
    # Scaling leaves differences of rounding between equal directions.
    if np.abs(points - points[0]).max() < 1e-6:
        raise ValueError(
            f"all {len(points)} embeddings have one direction: there is nothing to "
            "cluster, the model has collapsed"
        )
    if pca_variance is None:
        return points
    pca = PCA(n_components=pca_variance, svd_solver="covariance_eigh").fit(points)
    parts = np.array_split(points, max(1, len(points) // 65_536))
    points = np.concatenate([pca.transform(part) for part in parts])
    return scaled_to_unit(points)
