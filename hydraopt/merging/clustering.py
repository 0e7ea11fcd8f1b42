"""k-means of T tasks, given only their ``[T, T]`` Gram matrix.

Labels are dense: 0..k-1 without gaps. Equal tasks may leave fewer clusters than requested.
"""

import warnings
from typing import Any

import numpy as np
import torch

RESTARTS = 32


def cluster(gram: torch.Tensor, clusters: int, seed: int) -> torch.Tensor:
    """Return labels ``[T]`` of at most ``clusters`` clusters, the best of 32 k-means++ restarts."""
    return _labels(_points(gram), clusters, n_init=RESTARTS, random_state=seed)


def refine(gram: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Run Lloyd iterations from ``labels``; the within-cluster scatter never grows."""
    points = _points(gram)
    means = [points[(labels == k).numpy()].mean(0) for k in range(int(labels.max()) + 1)]
    return _labels(points, len(means), init=means, n_init=1)


def _labels(points: np.ndarray, clusters: int, **options: Any) -> torch.Tensor:
    """Cluster ``points [T, T]``; ``options`` go to scikit-learn's ``KMeans``."""
    from sklearn.cluster import KMeans  # imports in a second, and few methods cluster
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct points than clusters
        labels = torch.from_numpy(KMeans(clusters, **options).fit(points).labels_)
    return labels.unique(return_inverse=True)[1]


def _points(gram: torch.Tensor) -> np.ndarray:
    """Return points ``[T, T]`` with inner products ``gram``."""
    values, vectors = torch.linalg.eigh(gram)
    return (vectors * values.clamp_min(0).sqrt()).numpy()
