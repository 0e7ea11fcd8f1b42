"""From merged adapters and a base model to the directory that goes to the phone."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ..errors import LoweringError
from ..files import output_directory
from ..formats.codes import CODEC
from ..formats.manifest import INPUTS, MANIFEST, PROGRAM, TOKENIZER, Manifest
from ..formats.pack import Pack
from ..formats.records import FileRecord
from ..merging import MergedAdapters
from ..packing import CodedAdapters, code_verbatim
from .base_model import BaseModel, load_base
from .factors import task_classes
from .form import Form
from .program import OperatorCount, Program
from .swaps import SWAPS
from .tokenizer import save_tokenizer

logger = logging.getLogger(__name__)


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
    swap: str = INPUTS,
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
            ``data``: one method and a .ptd file per task, as ExecuTorch's ``LlmModule`` takes them.
        overwrite: replace an existing ``directory``.

    Raises:
        LoweringError: a base that does not fit the adapters, or a slot that was not delegated.
        OutputError: ``directory`` exists and ``overwrite`` is false, or it cannot be written.
    """
    if swap not in SWAPS:
        raise LoweringError(f"unknown swap {swap!r}, expected one of {', '.join(SWAPS)}")
    with output_directory(directory, MANIFEST, overwrite=overwrite) as staging:
        coded = code_verbatim(merged) if isinstance(merged, MergedAdapters) else merged
        classes = task_classes(coded)
        loaded = load_base(base, merged.base_model, heads=bool(classes))
        form = loaded.kind.resolved(form or Form(), loaded.model)
        swapped = SWAPS[swap](coded, loaded, form, staging)
        return write_bundle(
            staging,
            loaded,
            swapped.program,
            **asdict(form),
            base_model=merged.base_model,
            method=merged.method,
            adapter_bytes=merged.adapter_bytes,
            swap=swap,
            static_rows=swapped.static_rows,
            factors=swapped.factors,
            constant_bytes=swapped.constant_bytes,
            packs=swapped.packs,
            methods=swapped.methods,
            codec=CODEC if swap == INPUTS else None,
            classes=classes,
        )


def write_bundle(
    staging: Path, loaded: BaseModel, program: Program, packs: Mapping[str, Pack], **about: Any
) -> Exported:
    """Write program, tokenizer and manifest beside what ``staging`` holds already.

    Args:
        staging: directory that becomes the bundle.
        loaded: the base model.
        program: what was lowered.
        packs: task -> where its pack or .ptd file is.
        about: the fields of the manifest that do not follow from the others.
    """
    (staging / PROGRAM).write_bytes(program.buffer)
    logger.info("lowered to %d bytes", len(program.buffer))
    save_tokenizer(loaded.tokenizer, staging / TOKENIZER)
    packed = {staging / pack.file for pack in packs.values()}
    manifest = Manifest(
        kind=loaded.kind.name,
        base_config_sha256=loaded.config_sha256,
        executorch=version("executorch"),
        vocabulary=loaded.vocabulary,
        files={
            file.relative_to(staging).as_posix(): FileRecord.of(file)
            for file in sorted(staging.rglob("*"))
            if file.is_file() and file not in packed
        },
        packs=packs,
        **loaded.about,
        **about,
    )
    manifest.write(staging / MANIFEST)
    return Exported(manifest, program.delegation)
