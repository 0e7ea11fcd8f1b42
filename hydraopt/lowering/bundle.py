"""Export a bundle: plan, lower, write."""

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
from .calibration_texts import Calibration
from .lowered import Lowered, lower_plan
from .plan import Plan, StaticPlan, make_plan
from .program import OperatorCount
from .program_check import check_program
from .settings import ExportSettings
from .static import StaticAdapter
from .tokenizer import save_tokenizer

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Exported:
    """Result of :func:`export_bundle`.

    Attributes:
        manifest: the bundle's manifest.
        delegation: table of each method.
        program_error: largest relative error of the program against PyTorch with the same quantised
            weights; None if it was not compared.
    """

    manifest: Manifest
    delegation: Mapping[str, Sequence[OperatorCount]]
    program_error: float | None


def export_bundle(
    adapters: MergedAdapters | CodedAdapters | StaticAdapter,
    base: str,
    directory: str | Path,
    settings: ExportSettings | None = None,
    *,
    swap: str | None = None,
    single_pack: bool = False,
    check: bool = True,
    calibration: Calibration | None = None,
    chat_arguments: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> Exported:
    """Lower ``base`` with adapters and write a bundle atomically.

    Args:
        adapters: adapters of several tasks, or one for all, which is merged into the weights.
        base: directory or hub id of the base model.
        directory: the bundle to write.
        settings: export settings; defaults if None.
        swap: ``inputs`` (default): one method that takes factors as inputs, and a pack per task.
            ``methods``: one method per task with constant factors; the set of tasks is closed, and
            the base is stored once. ``data``: one method and a .ptd file per task, for
            ExecuTorch's ``LlmModule``. Must be None with one adapter for all tasks.
        single_pack: write all packs to one file.
        check: compare the model before quantisation with transformers, and the program with the
            quantised model, for the first and the last task.
        calibration: texts that a quantised base's weights are rounded for, with each task's
            adapter: task -> prompts; ``generated``: the base writes them itself; ``none``: no
            texts, but the scales of least squared error. By default ``generated`` if the base
            generates texts, else ``none``.
        chat_arguments: variables of the base's chat template with JSON values, such as
            ``{"enable_thinking": False}``; they apply to every chat with the bundle.
        overwrite: replace an existing ``directory``.

    Raises:
        UsageError: ``swap`` is unknown or does not fit the adapters, ``single_pack`` is set
            without packs, or the chat template does not take the arguments.
        LoweringError: the base does not fit the adapters, the model differs from transformers, the
            program differs from the model, or a slot was not delegated.
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
            calibration=calibration,
            chat_arguments=chat_arguments,
        )
        lowered = lower_plan(plan, staging)
        manifest = write_bundle(staging, plan, lowered)
        error = check_program(staging, lowered.quantized)
        return Exported(manifest, lowered.program.delegation, error)


def write_bundle(directory: Path, plan: Plan, lowered: Lowered) -> Manifest:
    """Write program, tokenizer and manifest to ``directory``, which holds the packs."""
    base, adapters, program = plan.base, plan.adapters, lowered.program
    settings = lowered.settings
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
    manifest = Manifest(
        base_model=adapters.base_model,
        base_config_sha256=base.config_sha256,
        executorch=version("executorch"),
        method=adapters.method,
        adapter_bytes=adapters.adapter_bytes,
        quantize=settings.quantize,
        model=_model(base, settings),
        swap=swap,
        files={name: record for name, record in files.items() if name not in swap.growth},
        classes=plan.classes,
        deviation=lowered.deviation,
        base_weights=written_weights(adapters.base_weights),
        layers=plan.layers,
        backend=settings.backend,
        overrides=settings.overrides,
        calibration=lowered.calibration,
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
