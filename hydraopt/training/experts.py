"""Choose the number of HydraLoRA experts: the elbow of k-means on TF-IDF features."""

import random
from collections.abc import Sequence

import numpy as np
from sklearn.cluster import KMeans
from sklearn.feature_extraction.text import TfidfVectorizer

MOST = 10
SAMPLE = 5000  # prompts, enough for the shape of the curve


def choose_experts(prompts: Sequence[str], *, seed: int = 0) -> int:
    """Return the number of clusters at the elbow, from 2 to 10.

    HydraLoRA (NeurIPS 2024) uses the elbow of k-means on TF-IDF features. Defining the elbow as the
    point farthest below the chord from the first to the last k is inferred.

    Args:
        prompts: prompts of the training data.
        seed: seed for k-means and for sampling a large corpus.
    """
    if len(prompts) > SAMPLE:
        prompts = random.Random(seed).sample(list(prompts), SAMPLE)
    # numbers distinguish examples, not kinds of examples
    vectorizer = TfidfVectorizer(token_pattern=r"(?u)\b[^\W\d]\w*\b", sublinear_tf=True)
    try:
        features = vectorizer.fit_transform(prompts)
    except ValueError:  # no words
        return 2
    features.sort_indices()
    distinct = len({row.indices.tobytes() + row.data.tobytes() for row in features})
    counts = range(1, min(MOST, distinct) + 1)
    errors = [KMeans(k, n_init=4, random_state=seed).fit(features).inertia_ for k in counts]
    errors += [0.0] * (MOST - len(errors))  # as many clusters as points, or more
    return max(2, 1 + elbow(errors))


def elbow(errors: Sequence[float]) -> int:
    """Return the index at which a falling curve lies farthest below the chord of its ends."""
    chord = np.linspace(errors[0], errors[-1], len(errors))
    return int(np.argmax(chord - np.asarray(errors)))
