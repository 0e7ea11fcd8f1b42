"""What a program computes beside PyTorch, and how fast it is here."""

import time
from pathlib import Path
from statistics import median

import torch

from hydraopt.lowering.base_model import load_base
from hydraopt.lowering.factors import factor_shapes, module_shapes
from hydraopt.lowering.manifest import Manifest
from hydraopt.lowering.simplify import quantize_embedding
from hydraopt.lowering.slots import insert_slots
from hydraopt.lowering.xnnpack import quantize_linear
from hydraopt.packing import CodedAdapters, Decode, shared_rows
from hydraopt.runtime import Session

PROMPT, STEPS = 12, 20


def eager_error(bundle: Path, base: str, coded: CodedAdapters) -> float:
    """Largest relative error of the logits after a prompt of 12 tokens, over all tasks.

    The reference is transformers' own attention in PyTorch, quantised alike.

    Args:
        bundle: the bundle.
        base: directory or hub id of its base model.
        coded: its adapters.
    """
    session = Session.open(bundle)
    manifest = Manifest.read(bundle)
    static = manifest.static_rows
    model = load_base(base, manifest.base_model).model
    quantize_linear(model, manifest.quantize)
    quantize_embedding(model, manifest.embedding)
    rows = shared_rows(coded.layout, coded.shared) if static else None
    inputs = insert_slots(model, module_shapes(coded.layout), rows)
    decode, shared = Decode(coded.layout, static_rows=static), () if static else (coded.shared,)
    names = factor_shapes(coded.layout, static_rows=static)
    ids = torch.arange(PROMPT) * 7 % manifest.vocabulary
    errors = []
    for task in coded.tasks:
        session.switch(task)
        with torch.no_grad():
            inputs.update(zip(names, decode(*shared, coded.payloads[task]), strict=True))
            wanted = model(ids[None], use_cache=False).logits[0, -1]
        errors.append((session.forward(ids.tolist()) - wanted).norm() / wanted.norm())
    return float(max(errors))


def decode_ms(bundle: Path) -> float:
    """Median milliseconds of a token on this machine, all threads, the first task."""
    session = Session.open(bundle)
    session.switch(session.tasks[0])
    times = []
    for _ in range(min(STEPS, session.manifest.max_length)):
        start = time.perf_counter()
        session.forward([1])
        times.append(1e3 * (time.perf_counter() - start))
    return round(median(times), 3)
