"""From merged adapters and a base model to the directory that goes to the phone."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from ..errors import LoweringError
from ..files import output_directory
from ..merging import MergedAdapters
from ..packing import CodedAdapters, Groups, code_verbatim, shared_rows
from .base_model import BaseModel, load_base
from .decoder import Decoder, prepare
from .factors import factor_shapes, module_shapes
from .form import Form
from .manifest import DECODE, FORWARD, MANIFEST, PROGRAM, TOKENIZER, FileRecord, Manifest
from .program import OperatorCount, Program, export_decode, export_forward, lower
from .slots import insert_slots, set_constants, slot_layers
from .tokenizer import chat_of, save_tokenizer, stop_tokens

logger = logging.getLogger(__name__)

SWAPS = ("inputs", "methods")


@dataclass(frozen=True)
class Exported:
    """What :func:`export_bundle` did: the manifest and the delegation table of each method."""

    manifest: Manifest
    delegation: Mapping[str, Sequence[OperatorCount]]


def export_bundle(
    merged: MergedAdapters | CodedAdapters,
    base: str,
    directory: str | Path,
    form: Form | None = None,
    *,
    swap: str = "inputs",
    overwrite: bool = False,
) -> Exported:
    """Lower ``base`` with slots for ``merged`` and write a bundle; whole or not at all.

    Args:
        merged: the adapters.
        base: directory or hub id of the base model they belong to.
        directory: the bundle to write.
        form: of the program.
        swap: ``inputs``: one method whose inputs are the factors, a pack per task. ``methods``: a
            closed set of tasks, one method each, factors as constants, the base stored once.
        overwrite: replace an existing ``directory``.

    Raises:
        LoweringError: a base that does not fit the adapters, or a slot that was not delegated.
        OutputError: ``directory`` exists and ``overwrite`` is false, or it cannot be written.
    """
    if swap not in SWAPS:
        raise LoweringError(f"unknown swap {swap!r}, expected {' or '.join(SWAPS)}")
    with output_directory(directory, MANIFEST, overwrite=overwrite) as staging:
        loaded = load_base(base, merged.base_model)
        form = (form or Form()).resolved(loaded.model)
        coded = code_verbatim(merged) if isinstance(merged, MergedAdapters) else merged
        rows = None
        # What tasks share as a whole is no layer of rows: it is decoded like the rest.
        if swap == "inputs" and form.quantize != "none" and not coded.layout.shares_columns:
            rows = shared_rows(coded.layout, coded.shared)
        static_rows = rows is not None
        methods = _method_names(coded) if swap == "methods" else {}
        program = _lower(coded, loaded, form, rows, methods)
        shapes = factor_shapes(coded.layout, static_rows=static_rows)
        return write_bundle(
            staging,
            base,
            loaded,
            program,
            **asdict(form),
            base_model=merged.base_model,
            method=merged.method,
            adapter_bytes=merged.adapter_bytes,
            swap=swap,
            static_rows=static_rows,
            factors={} if methods else shapes,
            constant_bytes=_constant_bytes(coded) if methods else _row_bytes(rows or {}),
            tasks=methods or coded.write_packs(staging),
        )


def write_bundle(
    staging: Path, source: str, loaded: BaseModel, program: Program, **about: Any
) -> Exported:
    """Write program, tokenizer and manifest beside what ``staging`` holds already.

    Args:
        staging: directory that becomes the bundle.
        source: directory or hub id of the base model.
        loaded: that base model.
        program: what was lowered.
        about: the fields of the manifest that do not follow from the others.
    """
    (staging / PROGRAM).write_bytes(program.buffer)
    logger.info("lowered to %d bytes", len(program.buffer))
    tokenizer = save_tokenizer(source, staging / TOKENIZER)
    manifest = Manifest(
        base_config_sha256=loaded.config_sha256,
        executorch=version("executorch"),
        vocabulary=loaded.vocabulary,
        eos_ids=stop_tokens(tokenizer, loaded.eos_ids),
        chat=chat_of(tokenizer),
        files={
            file.relative_to(staging).as_posix(): FileRecord.of(file)
            for file in sorted(staging.rglob("*"))
            if file.is_file()
        },
        **about,
    )
    manifest.write(staging / MANIFEST)
    return Exported(manifest, program.delegation)


def _method_names(coded: CodedAdapters) -> dict[str, str]:
    return {task: f"task_{number}" for number, task in enumerate(coded.tasks)}


def _lower(
    coded: CodedAdapters,
    base: BaseModel,
    form: Form,
    rows: Mapping[str, Groups | torch.Tensor] | None,
    methods: Mapping[str, str],
) -> Program:
    """``forward`` and ``decode``; or, if ``methods`` names them, one method per task."""
    layout, static_rows = coded.layout, rows is not None
    step = prepare(base.model, form)
    inputs = insert_slots(base.model, module_shapes(layout), rows)
    decoder = Decoder(base.model, step, form.max_length, inputs)
    slots = slot_layers(layout.modules)
    if not methods:
        shapes = factor_shapes(layout, static_rows=static_rows)
        forward = export_forward(decoder, shapes, form.prefill_length)
        return lower(
            {FORWARD: forward, DECODE: export_decode(layout, static_rows=static_rows)}, slots
        )
    exported = {}
    for task, method in methods.items():
        set_constants(decoder, coded.task_factors(task))
        exported[method] = export_forward(decoder, {}, form.prefill_length)
        logger.info("exported %s as method %s", task, method)
    return lower(exported, slots)


def _constant_bytes(coded: CodedAdapters) -> int:
    """float32 bytes of all tasks' factors as constants of the program."""
    values = sum(len(m.directions) * sum(m.shape) for m in coded.layout.modules.values())
    return 4 * values * len(coded.tasks)


def _row_bytes(rows: Mapping[str, Groups | torch.Tensor]) -> int:
    """Bytes of shared rows as layers: int4 with a scale per group, or int8 with one per row."""
    return sum(
        x.values.numel() // 2 + 2 * x.scales.numel()
        if isinstance(x, Groups)
        else x.numel() + 4 * len(x)
        for x in rows.values()
    )
