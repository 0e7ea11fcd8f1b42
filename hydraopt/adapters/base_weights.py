"""Fingerprints of the base model's weights that PEFT saves with an adapter.

If an output head or an embedding is among the target modules, ``save_pretrained`` also writes the
wrapped layer's weight. A copy that differs from the base's weight means that the adapter belongs
to another base. Adapters are read without the base: they keep a fingerprint of each copy, which is
compared when the base is loaded.
"""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import torch

CHUNK = 1 << 22  # values converted at a time
# A copy has the dtype of training, which may differ from the base's own.
STORED = (torch.float32, torch.bfloat16, torch.float16)


class Fingerprint(NamedTuple):
    """Shape of a weight, and SHA-256 of its values in float32."""

    shape: tuple[int, ...]
    sha256: str


BaseWeights = Mapping[str, tuple[Fingerprint, ...]]  # name of a base weight -> its copies


@torch.no_grad()
def fingerprint(weight: torch.Tensor, stored: torch.dtype = torch.float32) -> Fingerprint:
    """Return the fingerprint of ``weight`` rounded to the dtype ``stored``, in chunks."""
    digest = hashlib.sha256()
    for part in weight.detach().reshape(-1).split(CHUNK):
        digest.update(part.cpu().to(stored).float().numpy().data)
    return Fingerprint(tuple(weight.shape), digest.hexdigest())


def is_copy(weight: torch.Tensor, found: Fingerprint) -> bool:
    """Return whether ``found`` is of ``weight`` in float32, bfloat16 or float16."""
    return tuple(weight.shape) == found.shape and any(
        fingerprint(weight, stored) == found for stored in STORED
    )


def united(all_weights: Collection[Mapping[str, Fingerprint]]) -> BaseWeights:
    """Collect the distinct fingerprints of several adapters, by weight name."""
    names = sorted({name for weights in all_weights for name in weights})
    return {
        name: tuple(dict.fromkeys(weights[name] for weights in all_weights if name in weights))
        for name in names
    }


def written_weights(weights: BaseWeights) -> dict[str, list[dict]]:
    """Return fingerprints as JSON values."""
    return {name: [x._asdict() for x in copies] for name, copies in weights.items()}


def read_weights(written: Mapping[str, Sequence[Mapping]]) -> BaseWeights:
    """The inverse of :func:`written_weights`."""
    return {
        name: tuple(Fingerprint(tuple(x["shape"]), x["sha256"]) for x in copies)
        for name, copies in written.items()
    }
