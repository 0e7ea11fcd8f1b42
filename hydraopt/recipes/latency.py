"""Latency of a program on this machine."""

import time
from pathlib import Path
from statistics import median

import torch

from ..formats.manifest import Manifest
from ..formats.models import CausalLm, Image
from ..runtime import Session

TOKENS, CALLS = 12, 20


def forward_ms(bundle: Path) -> float:
    """Return the median milliseconds of a decoded token, a text or an image, with all threads."""
    session = Session.open(bundle)
    session.switch(session.tasks[0])
    generates = isinstance(session.manifest.model, CausalLm)
    run, given = (session.forward, [1]) if generates else (session.run, example(session.manifest))
    times = []
    for _ in range(CALLS):
        start = time.perf_counter()
        run(given)
        times.append(1e3 * (time.perf_counter() - start))
    return round(median(times), 3)


def example(manifest: Manifest) -> list[int] | torch.Tensor:
    """Return 12 token ids or a random image."""
    model = manifest.model
    if isinstance(model, Image):
        return torch.rand(model.shape, generator=torch.Generator().manual_seed(0))
    return (torch.arange(TOKENS) * 7 % model.vocabulary).tolist()
