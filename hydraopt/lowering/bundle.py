"""From adapters and a base model to the directory that goes to the phone: plan, lower, write."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ..adapters import written_weights
from ..errors import require
from ..files import output_directory, write_bytes
from ..formats.layout import LAYOUT
from ..formats.manifest import BUNDLE, MANIFEST, PROGRAM, TOKENIZER, Manifest
from ..formats.models import CAUSAL_LM, IMAGE, CausalLm, Encoder, Image, Model
from ..formats.pack import SHARED
from ..formats.records import FileRecord
from ..formats.swaps import INPUTS, TASK_METHODS, Data, Inputs, Methods, Static, Swap
from ..packing import CodedAdapters
from ..stored import MergedAdapters
from .base_model import BaseModel
from .lowered import Lowered, lower_plan
from .plan import Plan, StaticPlan, make_plan
from .program import OperatorCount
from .settings import ExportSettings
from .static import StaticAdapter
from .tokenizer import save_tokenizer

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Exported:
    """What :func:`export_bundle` did: the manifest and the delegation table of each method."""

    manifest: Manifest
    delegation: Mapping[str, Sequence[OperatorCount]]


def export_bundle(
    adapters: MergedAdapters | CodedAdapters | StaticAdapter,
    base: str,
    directory: str | Path,
    settings: ExportSettings | None = None,
    *,
    swap: str | None = None,
    single_pack: bool = False,
    check: bool = True,
    chat_arguments: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> Exported:
    """Lower ``base`` with adapters and write a bundle; whole or not at all.

    Args:
        adapters: of several tasks; or one for all, which becomes part of the base's weights.
        base: directory or hub id of the base model they belong to.
        directory: the bundle to write.
        settings: of the export.
        swap: ``inputs``, the default: one method whose inputs are the factors, a pack per task.
            ``methods``: a closed set of tasks, one method each, factors as constants, the base
            stored once. ``data``: one method and a .ptd file per task, as ExecuTorch's
            ``LlmModule`` takes them. One adapter for all tasks takes none of them.
        single_pack: write the packs of all tasks into one file.
        check: compare the model, before it is quantised, with transformers and the unpacked
            adapters of the first and the last task.
        chat_arguments: variables of the base's chat template by name, JSON values, such as
            ``{"enable_thinking": False}``; all chats with the bundle have them.
        overwrite: replace an existing ``directory``.

    Raises:
        UsageError: a ``swap`` that there is not, or for adapters that are not swapped; one file
            of packs where there are none; chat arguments that the base's template does not take.
        LoweringError: a base that does not fit the adapters, a model that computes other numbers
            than transformers, or a slot that was not delegated.
        OutputError: ``directory`` exists and ``overwrite`` is false, or it cannot be written.
    """
    with output_directory(directory, BUNDLE, overwrite=overwrite) as staging:
        plan = make_plan(
            adapters,
            base,
            settings,
            swap,
            single_pack=single_pack,
            check=check,
            chat_arguments=chat_arguments,
        )
        lowered = lower_plan(plan, staging)
        return Exported(write_bundle(staging, plan, lowered), lowered.program.delegation)


def write_bundle(directory: Path, plan: Plan, lowered: Lowered) -> Manifest:
    """Write program, tokenizer and manifest beside the packs that lie in ``directory``."""
    base, adapters, program = plan.base, plan.adapters, lowered.program
    write_bytes(directory / PROGRAM, program.buffer)
    logger.info("lowered to %d bytes", len(program.buffer))
    if lowered.deviation is not None:
        logger.info("deviation from transformers before quantising: %.1e", lowered.deviation)
    save_tokenizer(base.tokenizer, directory / TOKENIZER)
    packed = {directory / pack.file for pack in lowered.packs.values()}
    files = {
        file.relative_to(directory).as_posix(): FileRecord.of(file)
        for file in sorted(directory.rglob("*"))
        if file.is_file() and file not in packed
    }
    swap = _swap(plan, lowered, files)
    growth = swap.growth if isinstance(swap, Inputs) else {}
    manifest = Manifest(
        base_model=adapters.base_model,
        base_config_sha256=base.config_sha256,
        executorch=version("executorch"),
        method=adapters.method,
        adapter_bytes=adapters.adapter_bytes,
        quantize=plan.settings.quantize,
        model=_model(base, plan.settings),
        swap=swap,
        files={name: record for name, record in files.items() if name not in growth},
        classes=plan.classes,
        deviation=lowered.deviation,
        base_weights=written_weights(adapters.base_weights),
        layers=plan.layers,
        backend=plan.settings.backend,
    )
    manifest.write(directory / MANIFEST)
    return manifest


def _model(base: BaseModel, settings: ExportSettings) -> Model:
    if base.kind.name == IMAGE:
        return Image(**base.about)
    vocabulary = require(base.vocabulary, "vocabulary")
    max_length = require(settings.max_length, "max length")
    embedding = require(settings.embedding, "embedding")
    if base.kind.name == CAUSAL_LM:
        prefill_length = require(settings.prefill_length, "prefill length")
        attention = require(settings.attention, "attention")
        return CausalLm(vocabulary, max_length, prefill_length, embedding, attention, **base.about)
    return Encoder(vocabulary, max_length, embedding, **base.about)


def _swap(plan: Plan, lowered: Lowered, files: Mapping[str, FileRecord]) -> Swap:
    constant_bytes = lowered.constant_bytes
    if isinstance(plan, StaticPlan):
        return Static(plan.adapters.tasks, constant_bytes)
    if plan.swap == INPUTS:
        binding = plan.adapters.layout.binding(plan.adapters.shared.numpy()).hex()
        static_rows = plan.static_rows
        growth = {x: files[x] for x in ((LAYOUT, SHARED) if static_rows else (LAYOUT,))}
        return Inputs(lowered.packs, plan.factors, binding, static_rows, constant_bytes, growth)
    if plan.swap == TASK_METHODS:
        return Methods(plan.methods, constant_bytes)
    return Data(lowered.packs)
