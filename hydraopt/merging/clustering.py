"""k-means of T tasks that are known by their ``[T, T]`` Gram matrix alone."""

import torch
from sklearn.cluster import KMeans

RESTARTS = 32


def cluster(gram: torch.Tensor, clusters: int, seed: int) -> torch.Tensor:
    """Labels ``[T]`` in 0..K-1, the best of several seeded k-means++ restarts."""
    tasks = len(gram)
    if clusters == tasks:
        return torch.arange(tasks)
    means = KMeans(clusters, n_init=RESTARTS, random_state=seed).fit(_points(gram))
    return torch.from_numpy(means.labels_).long()


def refine(gram: torch.Tensor, labels: torch.Tensor, clusters: int) -> torch.Tensor:
    """Labels after Lloyd steps that start from ``labels``; the scatter does not grow."""
    if clusters in (1, len(gram)):
        return labels
    points = _points(gram)
    means = [points[(labels == k).numpy()].mean(0) for k in range(clusters)]
    refined = KMeans(clusters, init=means, n_init=1).fit(points)
    return torch.from_numpy(refined.labels_).long()


def _points(gram: torch.Tensor):
    """Points ``[T, T]`` (numpy) whose inner products are ``gram``."""
    values, vectors = torch.linalg.eigh(gram)
    return (vectors * values.clamp_min(0).sqrt()).numpy()
