"""How many heads a corpus needs: k-means on TF-IDF features, and the elbow of its error."""

from collections.abc import Sequence

import numpy as np
from sklearn.cluster import KMeans
from sklearn.feature_extraction.text import TfidfVectorizer

MOST = 10


def choose_heads(prompts: Sequence[str], *, seed: int = 0) -> int:
    """The number of clusters at the elbow, from 2 to 10.

    HydraLoRA (NeurIPS 2024) takes the elbow of k-means on TF-IDF features; that the elbow is the
    point farthest below the chord from the first to the last k is inferred.

    Args:
        prompts: of the training data.
        seed: of k-means.
    """
    # numbers tell examples apart, not kinds of examples
    vectorizer = TfidfVectorizer(token_pattern=r"(?u)\b[^\W\d]\w*\b", sublinear_tf=True)
    try:
        features = vectorizer.fit_transform(prompts)
    except ValueError:  # no words at all
        return 2
    distinct = len(np.unique(features.toarray().round(6), axis=0)) if len(prompts) else 0
    counts = range(1, min(MOST, distinct) + 1)
    if len(counts) < 3:
        return 2
    errors = [KMeans(k, n_init=4, random_state=seed).fit(features).inertia_ for k in counts]
    return max(2, counts[elbow(errors)])


def elbow(errors: Sequence[float]) -> int:
    """Index of the point of a falling curve that lies farthest below the chord of its ends."""
    chord = np.linspace(errors[0], errors[-1], len(errors))
    return int(np.argmax(chord - np.asarray(errors)))
