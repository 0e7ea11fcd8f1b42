"""What lowering must know of a base model, whatever it is."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from ...bases.weights import check_dense, load_whole
from ..settings import ExportSettings

Inputs = dict[str, torch.Tensor]  # that the slots read
ChatArguments = Mapping[str, Any]  # of a chat template


@dataclass(frozen=True)
class Probe:
    """An input on which the model that is exported is compared with transformers.

    Attributes:
        what: it is, in words.
        inputs: token ids, int64 ``[1, S]``, or pixel values, float32 ``[1, C, H, W]``.
        splits: of a causal LM: ways to cut the text into calls, each by where its calls end.
        layers: how many of a causal LM's layers run; None for all.
    """

    what: str
    inputs: torch.Tensor
    splits: Sequence[Sequence[int]] = ()
    layers: int | None = None


@dataclass(frozen=True)
class Kind:
    """A kind of base model.

    Attributes:
        name: in the manifest.
        generates: whether it continues texts; only of other kinds tasks may have classifiers.
        load: ``load(source, config, task_type, heads)``: the model in float32; ``task_type`` is
            that of the adapters, ``heads`` says whether they have classifiers.
        resolved: a form with every default filled in for a model; raises ``LoweringError`` for one
            that it cannot have.
        restructured: gives a model its form in the program, in place and still in float32, and
            tells how to make the module that is exported from the dict that its slots read.
        export: ``torch.export`` of that module; the factors' shapes are given by name.
        describe: from a model, before it is restructured, its tokenizer and the arguments of its
            chat template the manifest's fields that depend on the kind.
        probes: inputs for a model in a resolved form.
        wanted: what transformers computes of one, a row for each output.
        found: the same of the module that is exported, with a task's factors.
    """

    name: str
    generates: bool
    load: Callable[[str, PretrainedConfig, str | None, bool], PreTrainedModel]
    resolved: Callable[[ExportSettings, PreTrainedModel], ExportSettings]
    restructured: Callable[[PreTrainedModel, ExportSettings], Callable[[Inputs], nn.Module]]
    export: Callable[
        [nn.Module, Mapping[str, Sequence[int]], ExportSettings], torch.export.ExportedProgram
    ]
    describe: Callable[
        [PreTrainedModel, PreTrainedTokenizerBase | None, ChatArguments], dict[str, Any]
    ]
    probes: Callable[[PreTrainedModel, ExportSettings], Sequence[Probe]]
    wanted: Callable[[PreTrainedModel, Probe], torch.Tensor]
    found: Callable[[nn.Module, Probe, Inputs], torch.Tensor]


def load_eager(make: Any, source: str, config: PretrainedConfig, *unneeded: str) -> PreTrainedModel:
    """Load a model whose layers and weights are all as its program needs them, in float32.

    Its attention is eager: scores as products and a softmax, which XNNPACK takes.

    Args:
        make: an ``AutoModel…`` class.
        source: directory or hub id.
        config: its configuration.
        unneeded: starts of the names of weights that may be missing; transformers draws them.

    Raises:
        UnfitError: as :func:`~hydraopt.bases.weights.load_whole` and ``check_dense``.
    """
    check_dense(make, config)
    return load_whole(make, source, config, unneeded=unneeded, attention="eager")


def is_classifier(config: PretrainedConfig, suffix: str) -> bool:
    """Whether the base itself was saved with a classifier."""
    return any(name.endswith(suffix) for name in config.architectures or ())
