"""k-means of T tasks that are known by their ``[T, T]`` Gram matrix alone.

Labels are dense, 0..k-1 without a gap. Tasks that are equal leave fewer clusters than asked for.
"""

import warnings

import numpy as np
import torch
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning

RESTARTS = 32


def cluster(gram: torch.Tensor, clusters: int, seed: int) -> torch.Tensor:
    """Labels ``[T]`` of at most ``clusters`` clusters: the best of seeded k-means++ restarts."""
    return _labels(KMeans(clusters, n_init=RESTARTS, random_state=seed), _points(gram))


def refine(gram: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Labels after Lloyd steps that start from ``labels``; the scatter does not grow."""
    points = _points(gram)
    means = [points[(labels == k).numpy()].mean(0) for k in range(int(labels.max()) + 1)]
    return _labels(KMeans(len(means), init=means, n_init=1), points)


def _labels(means: KMeans, points: np.ndarray) -> torch.Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct points than clusters
        labels = torch.from_numpy(means.fit(points).labels_)
    return labels.unique(return_inverse=True)[1]


def _points(gram: torch.Tensor) -> np.ndarray:
    """Points ``[T, T]`` whose inner products are ``gram``."""
    values, vectors = torch.linalg.eigh(gram)
    return (vectors * values.clamp_min(0).sqrt()).numpy()
