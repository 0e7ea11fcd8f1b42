"""From merged adapters and a base model to the directory that goes to the phone."""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from ..errors import LoweringError
from ..files import output_directory, sha256
from ..merging import MergedAdapters
from ..packing import FactorInput, flatten, layout_hash, write_pack
from .base_model import BaseModel, load_base, quantize_base, save_tokenizer
from .decoder import Decoder
from .factors import (
    constant_bytes,
    factor_inputs,
    module_shapes,
    shared_constants,
    task_constants,
    task_factors,
)
from .manifest import FORWARD, MANIFEST, PACKS, PROGRAM, FileRecord, Manifest
from .program import OperatorCount, Program, export, lower
from .slots import insert_slots, set_constants

logger = logging.getLogger(__name__)

SWAPS = ("inputs", "methods")
DEFAULT_LENGTH = 2048
SHORTEST = 8  # positions; the export traces a prompt of 4


@dataclass(frozen=True)
class Exported:
    """What :func:`export_bundle` did: the manifest and the delegation table of each method."""

    manifest: Manifest
    delegation: Mapping[str, Sequence[OperatorCount]]


def export_bundle(
    merged: MergedAdapters,
    base: str,
    directory: str | Path,
    *,
    quantize: str = "none",
    swap: str = "inputs",
    max_length: int | None = None,
    overwrite: bool = False,
) -> Exported:
    """Lower ``base`` with slots for ``merged`` and write a bundle; whole or not at all.

    Args:
        merged: the adapters.
        base: directory or hub id of the base model they belong to.
        directory: the bundle to write.
        quantize: ``none`` (float32) or ``8da4w``, for the base's weights.
        swap: ``inputs``: one method whose inputs are the factors, a pack per task. ``methods``: a
            closed set of tasks, one method each, factors as constants, the base stored once.
        max_length: positions of the KV cache; 2048 or the base's, whichever is smaller.
        overwrite: replace an existing ``directory``.

    Raises:
        LoweringError: a base that does not fit the adapters, or a slot that was not delegated.
        OutputError: ``directory`` exists and ``overwrite`` is false, or it cannot be written.
    """
    if swap not in SWAPS:
        raise LoweringError(f"unknown swap {swap!r}, expected {' or '.join(SWAPS)}")
    with output_directory(directory, MANIFEST, overwrite=overwrite) as staging:
        loaded = load_base(base, merged.base_model)
        max_length = _context(loaded, max_length)
        logger.info("loaded %s, %d parameters", base, loaded.model.num_parameters())
        quantize_base(loaded.model, quantize)
        closed = swap == "methods"
        inputs = () if closed else factor_inputs(merged)
        methods = {task: f"task_{i}" for i, task in enumerate(merged.tasks)} if closed else {}
        program = _lower(merged, loaded, inputs, methods, max_length)
        (staging / PROGRAM).write_bytes(program.buffer)
        logger.info("lowered to %d bytes with %d factor inputs", len(program.buffer), len(inputs))
        tasks = methods or _write_packs(merged, inputs, staging)
        save_tokenizer(base, staging)
        manifest = Manifest(
            base_model=merged.base_model,
            base_config_sha256=loaded.config_sha256,
            executorch=version("executorch"),
            method=merged.method,
            adapter_bytes=merged.adapter_bytes,
            quantize=quantize,
            swap=swap,
            max_length=max_length,
            vocabulary=loaded.model.get_input_embeddings().num_embeddings,
            eos_ids=loaded.eos_ids,
            inputs=inputs,
            constant_bytes=constant_bytes(merged, closed=closed),
            tasks=tasks,
            files={
                file.relative_to(staging).as_posix(): FileRecord.of(file)
                for file in sorted(staging.rglob("*"))
                if file.is_file()
            },
        )
        manifest.write(staging)
    return Exported(manifest, program.delegation)


def _lower(
    merged: MergedAdapters,
    base: BaseModel,
    inputs: Sequence[FactorInput],
    methods: Mapping[str, str],
    max_length: int,
) -> Program:
    """One ``forward`` that takes ``inputs``; or, if ``methods`` names them, one method per task."""
    constants = {} if methods else shared_constants(merged)
    slot_inputs = insert_slots(base.model, module_shapes(merged), constants)
    decoder = Decoder(base.model, max_length, slot_inputs)
    if not methods:
        return lower({FORWARD: export(decoder, inputs, max_length)})
    exported = {}
    for task, method in methods.items():
        set_constants(decoder, task_constants(merged, task))
        exported[method] = export(decoder, (), max_length)
        logger.info("exported %s as method %s", task, method)
    return lower(exported)


def _write_packs(
    merged: MergedAdapters, inputs: Sequence[FactorInput], bundle: Path
) -> dict[str, str]:
    """Write the packs, one for all tasks with equal factors; task -> path inside the bundle."""
    (bundle / PACKS).mkdir()
    program, layout = sha256(bundle / PROGRAM), layout_hash(inputs)
    tasks: dict[str, str] = {}
    by_hash: dict[bytes, str] = {}
    for task in merged.tasks:
        content = flatten(task_factors(merged, task, inputs))
        pack = f"{PACKS}/{task}.safetensors"
        tasks[task] = by_hash.setdefault(hashlib.sha256(content.numpy()).digest(), pack)
        if tasks[task] == pack:
            write_pack(bundle / pack, content, layout, program)
    return tasks


def _context(base: BaseModel, max_length: int | None) -> int:
    limit = getattr(base.model.config, "max_position_embeddings", DEFAULT_LENGTH)
    if max_length is None:
        return min(limit, DEFAULT_LENGTH)
    if not SHORTEST <= max_length <= limit:
        raise LoweringError(
            f"max length is {max_length}, expected {SHORTEST} to {limit}, the base model's "
            "positions; pass another --max-length"
        )
    return max_length
