"""What lowering must know of a base model, whatever it is."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

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


class Kind(ABC):
    """A kind of base model.

    Attributes:
        name: in the manifest.
        generates: whether it continues texts; only of other kinds tasks may have classifiers.
    """

    name: ClassVar[str]
    generates: ClassVar[bool] = False

    @abstractmethod
    def load(
        self, source: str, config: PretrainedConfig, task_type: str | None, heads: bool
    ) -> PreTrainedModel:
        """The base model in float32.

        Args:
            source: directory or hub id.
            config: its configuration.
            task_type: that of the adapters; None if they tell none.
            heads: whether the adapters have classifiers.

        Raises:
            UnfitError: it cannot be lowered, or does not fit the adapters.
        """

    @abstractmethod
    def resolve(self, settings: ExportSettings, model: PreTrainedModel) -> ExportSettings:
        """``settings`` with every default filled in for ``model``.

        Raises:
            LoweringError: a setting that the model cannot have.
        """

    @abstractmethod
    def restructure(
        self, model: PreTrainedModel, settings: ExportSettings
    ) -> Callable[[Inputs], nn.Module]:
        """Rewrite a model as its program needs it, in place and still in float32.

        Args:
            model: loaded, without slots.
            settings: resolved.

        Returns:
            What makes the module that is exported from the dict that its slots read.

        Raises:
            LoweringError: settings that the model cannot have.
        """

    @abstractmethod
    def export(
        self, module: nn.Module, shapes: Mapping[str, Sequence[int]], settings: ExportSettings
    ) -> torch.export.ExportedProgram:
        """``torch.export`` of a restructured model.

        Args:
            module: what :meth:`restructure` told how to make.
            shapes: of the factor inputs, by name.
            settings: resolved.

        Raises:
            LoweringError: a model that cannot be traced.
        """

    @abstractmethod
    def describe(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase | None,
        arguments: ChatArguments,
    ) -> dict[str, Any]:
        """The manifest's fields that depend on the kind.

        Args:
            model: before it is restructured.
            tokenizer: the base's; None if it has none.
            arguments: variables of its chat template, by name.
        """

    @abstractmethod
    def probes(self, model: PreTrainedModel, settings: ExportSettings) -> Sequence[Probe]:
        """Inputs on which a model in resolved settings is compared."""

    @abstractmethod
    def reference(self, model: PreTrainedModel, probe: Probe) -> torch.Tensor:
        """What transformers computes of a probe before ``model`` is restructured, ``[n, d]``."""

    @abstractmethod
    def outputs(self, module: nn.Module, probe: Probe, factors: Inputs) -> torch.Tensor:
        """The same of the module that is exported, with a task's factors by name, ``[n, d]``."""


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
