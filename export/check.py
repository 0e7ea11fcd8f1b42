"""What a program computes beside PyTorch, and how fast it is here."""

import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch

from hydraopt.formats.manifest import CAUSAL_LM, IMAGE, Manifest
from hydraopt.lowering.base_model import BaseModel, load_base
from hydraopt.lowering.factors import factor_shapes, module_shapes
from hydraopt.lowering.form import Form
from hydraopt.lowering.lowered import slotted
from hydraopt.lowering.simplify import quantize_embedding
from hydraopt.lowering.slots import insert_slots, set_rows
from hydraopt.lowering.xnnpack import quantize_linear
from hydraopt.packing import CodedAdapters, Decode, shared_rows
from hydraopt.runtime import Session
from hydraopt.runtime.inputs import inputs_of

TOKENS, CALLS = 12, 20


def eager_error(bundle: Path, base: str, coded: CodedAdapters) -> float:
    """Largest relative error of any task's logits after 12 tokens, or of what ``run`` gives.

    The reference is the base in PyTorch with transformers' own attention, quantised alike.

    Args:
        bundle: the bundle.
        base: directory or hub id of its base model.
        coded: its adapters.
    """
    session = Session.open(bundle)
    manifest = session.manifest
    loaded = load_base(base, manifest.base_model, coded.task_type, heads=bool(manifest.classes))
    compute, inputs = _reference(loaded, manifest, coded)
    static = manifest.static_rows
    decode, shared = Decode(coded.layout, static_rows=static), () if static else (coded.shared,)
    names = factor_shapes(coded.layout, static_rows=static)
    given, errors = example(manifest), []
    for task in coded.tasks:
        session.switch(task)
        with torch.no_grad():
            inputs.update(zip(names, decode(*shared, coded.payloads[task]), strict=True))
            wanted = compute(given)[..., : manifest.classes.get(task)]
        found = _answer(session, given)
        errors.append((found - wanted).norm() / wanted.norm())
    return float(max(errors))


def forward_ms(bundle: Path) -> float:
    """Median milliseconds on this machine, all threads, of a decoded token, a text or an image."""
    session = Session.open(bundle)
    session.switch(session.tasks[0])
    given = [1] if session.manifest.kind == CAUSAL_LM else example(session.manifest)
    times = []
    for _ in range(CALLS):
        start = time.perf_counter()
        _answer(session, given)
        times.append(1e3 * (time.perf_counter() - start))
    return round(median(times), 3)


def example(manifest: Manifest) -> list[int] | torch.Tensor:
    """12 tokens, or an image."""
    if manifest.kind == IMAGE:
        return torch.rand(manifest.image, generator=torch.Generator().manual_seed(0))
    return (torch.arange(TOKENS) * 7 % manifest.vocabulary).tolist()


def _answer(session: Session, given: list[int] | torch.Tensor) -> torch.Tensor:
    return session.forward(given) if session.manifest.kind == CAUSAL_LM else session.run(given)


def _reference(
    base: BaseModel, manifest: Manifest, coded: CodedAdapters
) -> tuple[Callable[[list[int] | torch.Tensor], torch.Tensor], dict[str, torch.Tensor]]:
    """What PyTorch computes of an input, and the dict through which it reads factors."""
    rows = shared_rows(coded.layout, coded.shared) if manifest.static_rows else None
    model, shapes = base.model, module_shapes(coded.layout)
    if manifest.kind == CAUSAL_LM:
        quantize_linear(model, manifest.quantize)
        quantize_embedding(model, manifest.embedding)
        inputs = insert_slots(model, shapes)
        set_rows(model, rows or {})
        return lambda ids: model(torch.tensor([ids]), use_cache=False).logits[0, -1], inputs
    module = slotted(base, Form.of(manifest), shapes, rows)
    return lambda given: module(*inputs_of(given, manifest), {})[0], module.inputs
