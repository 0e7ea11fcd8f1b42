"""chrF, how much of two texts' character n-grams is the same (Popović, WMT 2015)."""

from collections import Counter
from collections.abc import Sequence

ORDERS = range(1, 7)  # characters of an n-gram
BETA = 2  # recall weighs so many times as much as precision


def chrf(texts: Sequence[str], references: Sequence[str]) -> float:
    """chrF2 of texts against one reference each, in [0, 1]: the F score of all n-grams together.

    White space does not count. Precision and recall are means over the orders 1 to 6 of which
    both sides have n-grams.
    """
    precisions, recalls = [], []
    for order in ORDERS:
        pairs = [
            (_ngrams(text, order), _ngrams(reference, order))
            for text, reference in zip(texts, references, strict=True)
        ]
        same = sum((ours & theirs).total() for ours, theirs in pairs)
        ours, theirs = (sum(x.total() for x in side) for side in zip(*pairs, strict=True))
        if ours and theirs:
            precisions.append(same / ours)
            recalls.append(same / theirs)
    precision, recall = sum(precisions), sum(recalls)
    if not precision + recall:
        return 0.0
    weight = BETA**2
    score = (1 + weight) * precision * recall / (weight * precision + recall)
    return score / len(precisions)


def _ngrams(text: str, order: int) -> Counter[str]:
    characters = "".join(text.split())
    return Counter(characters[i : i + order] for i in range(len(characters) - order + 1))
