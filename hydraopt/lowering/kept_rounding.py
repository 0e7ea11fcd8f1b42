"""Round a base before its packs are calibrated for it, and use the same integers in the export."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import nn
from transformers import PreTrainedModel

from ..adapters import AdapterSet
from ..errors import LoweringError, UsageError, require
from ..rounding import IntegerWeight, running_rounded, set_rounded
from ..stored import Rounding
from .base_model import load_base
from .calibration_texts import Calibration, calibration_texts
from .layers import layer_places
from .quantization import RoundedBase, layer_schemes, round_base
from .settings import ExportSettings
from .simplify import quantized_embedding

FAR = 0.5  # norm of the integers' error, as a share of the weight's; about .1 with 4 bits


@dataclass(frozen=True)
class Student:
    """A rounded base for which packs are calibrated.

    Attributes:
        rounding: its integers.
        embedding: replaces the token embedding; None to keep it.
    """

    rounding: Rounding
    embedding: Callable[[torch.Tensor], torch.Tensor] | None

    def running(self, model: PreTrainedModel) -> AbstractContextManager[None]:
        """Let a float model compute what the rounded one does while the block runs."""
        found = self.embedding
        on_cpu = None if found is None else lambda ids: found(ids.cpu()).to(ids.device)
        return running_rounded(model, self.rounding.weights, on_cpu)


def round_student(
    base: str,
    adapters: AdapterSet,
    settings: ExportSettings,
    prompts: Mapping[str, Sequence[str]],
) -> Student:
    """Round a base for prompts, with each task's unmerged adapter.

    Args:
        base: directory or hub id of the base model.
        adapters: the adapters as trained.
        settings: schemes of layers and embedding.
        prompts: task -> prompts.

    Raises:
        UsageError: the settings quantise nothing.
        LoweringError: the base does not fit the adapters or the settings, or the prompts are no
            texts to calibrate with.
    """
    if not settings.scheme.quantizes:
        raise UsageError(
            f"packs are calibrated for a base in float unless a scheme is given, and "
            f"{settings.quantize} is none; leave it out",
            options=["quantize"],
        )
    loaded = load_base(base, adapters.base_model, adapters.task_type)
    settings = loaded.kind.resolve(settings, loaded.model)
    places = layer_places(loaded, settings, adapters.all_shapes, adapters.base_weights)
    factors = {x.name: x.placed(places).factors for x in adapters.adapters}
    texts = calibration_texts(loaded, prompts, adapters.tasks, factors.__getitem__)
    rounded = round_base(loaded.model, settings, texts)
    names = {layer: name for name, layer in loaded.model.named_modules()}
    rounding = Rounding(
        settings.quantize,
        require(settings.embedding, "embedding"),
        settings.overrides,
        require(rounded.calibration, "calibration"),
        {names[layer]: weight for layer, weight in rounded.weights.items()},
    )
    return Student(rounding, rounded.embedding)


def check_kept(
    rounding: Rounding, settings: ExportSettings, calibration: Calibration | None
) -> None:
    """Check that an export asks for the schemes of kept integers, and for no other rounding.

    Raises:
        UsageError: it does not.
    """
    if calibration is not None or settings.base_size is not None:
        raise UsageError(
            "these packs were calibrated for a base that is rounded already, and it is exported as "
            "it is; leave texts and size out, or compress without a scheme",
            options=["calibration", "base_size"],
        )
    found = (settings.quantize, settings.embedding, dict(settings.overrides))
    wanted = (rounding.quantize, rounding.embedding, dict(rounding.overrides))
    if found != wanted:
        raise UsageError(
            f"these packs were calibrated for a base in {_shown(*wanted)}, but the export asks for "
            f"{_shown(*found)}; export with the former, or compress again",
            options=["quantize", "embedding", "override"],
        )


def kept_student(model: PreTrainedModel, rounding: Rounding) -> Student:
    """Return the base of kept integers, for which more packs can be calibrated.

    Raises:
        LoweringError: they are those of another base.
    """
    _check_base(rounding, {n: x for n, x in model.named_modules() if isinstance(x, nn.Linear)})
    return Student(rounding, quantized_embedding(model, rounding.embedding))


def keep_rounding(
    model: PreTrainedModel, settings: ExportSettings, rounding: Rounding
) -> RoundedBase:
    """Set a base's weights to kept integers.

    Raises:
        LoweringError: they are those of another base.
    """
    layers = {name: layer for name, (layer, _) in layer_schemes(model, settings).items()}
    _check_base(rounding, layers)
    weights = {layers[name]: set_rounded(layers[name], x) for name, x in rounding.weights.items()}
    embedding = quantized_embedding(model, rounding.embedding)
    return RoundedBase(weights, embedding, rounding.calibration)


def _check_base(rounding: Rounding, layers: Mapping[str, nn.Linear]) -> None:
    for name, kept in rounding.weights.items():
        if name not in layers or not _near(kept, layers[name].weight.detach()):
            raise LoweringError(
                f"the packs were calibrated for the integers of another base: its layer {name} is "
                "not that of this one; pass the base that they were compressed with",
                options=["base"],
            )


def _near(kept: IntegerWeight, weight: torch.Tensor) -> bool:
    if kept.values.shape != weight.shape:
        return False
    return bool((kept.dense() - weight).norm() < FAR * weight.norm())


def _shown(quantize: str, embedding: str | None, overrides: Mapping[str, str]) -> str:
    others = "".join(f", {name}={scheme}" for name, scheme in overrides.items())
    return f"{quantize} with an embedding in {embedding}{others}"
