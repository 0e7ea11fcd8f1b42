"""Copies of the base's weights that PEFT saves beside factors.

With an output head or an embedding among the target modules ``save_pretrained`` also writes what
the adapted layer wraps. Such a copy says nothing new where it equals the base's weight; where it
does not, the adapter belongs to another base. The base is not there when adapters are read: they
keep a fingerprint of each copy, to be compared with the base when it is loaded.
"""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import torch

CHUNK = 1 << 22  # values that are converted at a time
# A copy has the type that training had; the base's own may be another one.
STORED = (torch.float32, torch.bfloat16, torch.float16)


class Fingerprint(NamedTuple):
    """A weight's shape, and the SHA-256 of its values in float32."""

    shape: tuple[int, ...]
    sha256: str


BaseWeights = Mapping[str, tuple[Fingerprint, ...]]  # by the weight's name in the base


@torch.no_grad()
def fingerprint(weight: torch.Tensor, stored: torch.dtype = torch.float32) -> Fingerprint:
    """The fingerprint of a weight after it was stored in some type; a chunk at a time."""
    digest = hashlib.sha256()
    for part in weight.detach().reshape(-1).split(CHUNK):
        digest.update(part.cpu().to(stored).float().numpy().data)
    return Fingerprint(tuple(weight.shape), digest.hexdigest())


def is_copy(weight: torch.Tensor, found: Fingerprint) -> bool:
    """Whether a fingerprint is of ``weight``, in float32, bfloat16 or float16."""
    return tuple(weight.shape) == found.shape and any(
        fingerprint(weight, stored) == found for stored in STORED
    )


def united(all_weights: Collection[Mapping[str, Fingerprint]]) -> BaseWeights:
    """The distinct fingerprints of several adapters, by name."""
    names = sorted({name for weights in all_weights for name in weights})
    return {
        name: tuple(dict.fromkeys(weights[name] for weights in all_weights if name in weights))
        for name in names
    }


def written_weights(weights: BaseWeights) -> dict[str, list[dict]]:
    """Fingerprints ready for JSON."""
    return {name: [x._asdict() for x in copies] for name, copies in weights.items()}


def read_weights(written: Mapping[str, Sequence[Mapping]]) -> BaseWeights:
    """The inverse of :func:`written_weights`."""
    return {
        name: tuple(Fingerprint(tuple(x["shape"]), x["sha256"]) for x in copies)
        for name, copies in written.items()
    }
