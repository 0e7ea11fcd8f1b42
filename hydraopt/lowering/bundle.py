"""From merged adapters and a base model to the directory that goes to the phone."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ..errors import LoweringError
from ..files import output_directory
from ..merging import MergedAdapters
from ..models import context_length
from ..packing import CodedAdapters, code_verbatim
from .base_model import BaseModel, load_base, quantize_base
from .decoder import Decoder
from .factors import factor_shapes, module_shapes
from .manifest import DECODE, FORWARD, MANIFEST, PROGRAM, TOKENIZER, FileRecord, Manifest
from .program import OperatorCount, Program, export_decode, export_forward, lower
from .slots import insert_slots, set_constants
from .tokenizer import chat_of, save_tokenizer, stop_tokens

logger = logging.getLogger(__name__)

SWAPS = ("inputs", "methods")
DEFAULT_LENGTH, DEFAULT_PREFILL = 2048, 128
SHORTEST, SHORTEST_PREFILL = 8, 4  # the export traces a prompt of 4


@dataclass(frozen=True)
class Exported:
    """What :func:`export_bundle` did: the manifest and the delegation table of each method."""

    manifest: Manifest
    delegation: Mapping[str, Sequence[OperatorCount]]


def export_bundle(
    merged: MergedAdapters | CodedAdapters,
    base: str,
    directory: str | Path,
    *,
    quantize: str = "none",
    swap: str = "inputs",
    max_length: int | None = None,
    prefill_length: int | None = None,
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
        prefill_length: most tokens of one call of ``forward``, for which its memory is planned;
            128 or ``max_length - 1``, whichever is smaller.
        overwrite: replace an existing ``directory``.

    Raises:
        LoweringError: a base that does not fit the adapters, or a slot that was not delegated.
        OutputError: ``directory`` exists and ``overwrite`` is false, or it cannot be written.
    """
    if swap not in SWAPS:
        raise LoweringError(f"unknown swap {swap!r}, expected {' or '.join(SWAPS)}")
    with output_directory(directory, MANIFEST, overwrite=overwrite) as staging:
        loaded = load_base(base, merged.base_model)
        max_length = cache_length(loaded, max_length)
        prefill_length = call_length(max_length, prefill_length)
        quantize_base(loaded.model, quantize)
        coded = code_verbatim(merged) if isinstance(merged, MergedAdapters) else merged
        methods = _method_names(coded) if swap == "methods" else {}
        program = _lower(coded, loaded, methods, max_length, prefill_length)
        return write_bundle(
            staging,
            base,
            loaded,
            program,
            base_model=merged.base_model,
            method=merged.method,
            adapter_bytes=merged.adapter_bytes,
            quantize=quantize,
            swap=swap,
            max_length=max_length,
            prefill_length=prefill_length,
            factors={} if methods else factor_shapes(coded.layout),
            constant_bytes=_constant_bytes(coded) if methods else 0,
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
        vocabulary=loaded.model.get_input_embeddings().num_embeddings,
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
    methods: Mapping[str, str],
    max_length: int,
    prefill_length: int,
) -> Program:
    """``forward`` and ``decode``; or, if ``methods`` names them, one method per task."""
    decoder = Decoder(base.model, max_length, insert_slots(base.model, module_shapes(coded.layout)))
    if not methods:
        forward = export_forward(decoder, factor_shapes(coded.layout), prefill_length)
        return lower({FORWARD: forward, DECODE: export_decode(coded.layout)})
    exported = {}
    for task, method in methods.items():
        set_constants(decoder, coded.task_factors(task))
        exported[method] = export_forward(decoder, {}, prefill_length)
        logger.info("exported %s as method %s", task, method)
    return lower(exported)


def _constant_bytes(coded: CodedAdapters) -> int:
    """float32 bytes of all tasks' factors as constants of the program."""
    values = sum(len(m.directions) * sum(m.shape) for m in coded.layout.modules.values())
    return 4 * values * len(coded.tasks)


def cache_length(base: BaseModel, max_length: int | None) -> int:
    """Positions of the KV cache: as asked, or 2048 or the base's, whichever is smaller.

    Raises:
        LoweringError: more than the base has, or too few to export.
    """
    limit = context_length(base.model, DEFAULT_LENGTH)
    if max_length is None:
        return min(limit, DEFAULT_LENGTH)
    if not SHORTEST <= max_length <= limit:
        raise LoweringError(
            f"max length is {max_length}, expected {SHORTEST} to {limit}, the base model's "
            "positions; pass another --max-length"
        )
    return max_length


def call_length(max_length: int, prefill_length: int | None) -> int:
    """Most tokens of one call: as asked, or 128 or all but one position, whichever is smaller.

    Raises:
        LoweringError: more than the KV cache takes, or too few to export.
    """
    limit = max_length - 1
    if prefill_length is None:
        return min(limit, DEFAULT_PREFILL)
    if not SHORTEST_PREFILL <= prefill_length <= limit:
        raise LoweringError(
            f"prefill length is {prefill_length}, expected {SHORTEST_PREFILL} to {limit}, one less "
            "than the positions of the KV cache; pass another --prefill-length"
        )
    return prefill_length
