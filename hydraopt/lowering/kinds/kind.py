"""The interface of kinds of base models."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from ...bases.weights import check_dense, load_whole
from ..settings import ExportSettings

FactorInputs = dict[str, torch.Tensor]  # factor inputs by name
ChatArguments = Mapping[str, Any]  # variables of a chat template


@dataclass(frozen=True)
class Probe:
    """An input on which the exported model is compared with transformers.

    Attributes:
        what: description for messages.
        inputs: token ids, int64 ``[1, S]``, or pixel values, float32 ``[1, C, H, W]``.
        splits: ways to cut a causal LM's text into calls, each as the ends of its calls.
        layers: number of a causal LM's layers to run; None for all.
    """

    what: str
    inputs: torch.Tensor
    splits: Sequence[Sequence[int]] = ()
    layers: int | None = None


class Kind(ABC):
    """A kind of base model.

    Attributes:
        name: its name in the manifest.
        generates: whether it generates text; if so, tasks cannot have classifiers.
    """

    name: ClassVar[str]
    generates: ClassVar[bool] = False

    @abstractmethod
    def load(
        self, source: str, config: PretrainedConfig, task_type: str | None, heads: bool
    ) -> PreTrainedModel:
        """Load the base model in float32.

        Args:
            source: directory or hub id.
            config: its configuration.
            task_type: PEFT task type of the adapters; None if unknown.
            heads: whether the adapters have classifiers.

        Raises:
            UnfitError: the model cannot be lowered or does not fit the adapters.
        """

    @abstractmethod
    def resolve(self, settings: ExportSettings, model: PreTrainedModel) -> ExportSettings:
        """Fill in the defaults of ``settings`` for ``model``.

        Raises:
            LoweringError: the model does not support a setting.
        """

    @abstractmethod
    def restructure(
        self, model: PreTrainedModel, settings: ExportSettings
    ) -> Callable[[FactorInputs], nn.Module]:
        """Rewrite a model for export, in place and in float32.

        Args:
            model: loaded model without slots.
            settings: export settings, resolved.

        Returns:
            A function that makes the module to export from the dict that its slots read.

        Raises:
            LoweringError: the model does not support the settings.
        """

    @abstractmethod
    def export(
        self, module: nn.Module, shapes: Mapping[str, Sequence[int]], settings: ExportSettings
    ) -> torch.export.ExportedProgram:
        """``torch.export`` of a restructured model.

        Args:
            module: module made by the function of :meth:`restructure`.
            shapes: shapes of the factor inputs by name.
            settings: export settings, resolved.

        Raises:
            LoweringError: the model cannot be traced.
        """

    @abstractmethod
    def describe(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase | None,
        arguments: ChatArguments,
    ) -> dict[str, Any]:
        """Return the fields of the manifest that depend on the kind.

        Args:
            model: the model, not restructured yet.
            tokenizer: the base's tokenizer, if any.
            arguments: variables of its chat template by name.
        """

    @abstractmethod
    def probes(self, model: PreTrainedModel, settings: ExportSettings) -> Sequence[Probe]:
        """Return the inputs for comparisons; ``settings`` are resolved."""

    @abstractmethod
    def reference(self, model: PreTrainedModel, probe: Probe) -> torch.Tensor:
        """Run a model that is not restructured on a probe, ``[n, d]``."""

    @abstractmethod
    def outputs(self, module: nn.Module, probe: Probe, factors: FactorInputs) -> torch.Tensor:
        """Run the module to export on a probe with a task's factors by name, ``[n, d]``."""


def load_eager(make: Any, source: str, config: PretrainedConfig, *unneeded: str) -> PreTrainedModel:
    """Load a model in float32 with eager attention, whose products and softmax XNNPACK takes.

    Args:
        make: an ``AutoModel…`` class.
        source: directory or hub id.
        config: its configuration.
        unneeded: name prefixes of weights that may be missing; transformers initialises them.

    Raises:
        UnfitError: as :func:`~hydraopt.bases.weights.load_whole` and ``check_dense``.
    """
    check_dense(make, config)
    return load_whole(make, source, config, unneeded=unneeded, attention="eager")


def is_classifier(config: PretrainedConfig, suffix: str) -> bool:
    """Return whether the base was saved with a classifier."""
    return any(name.endswith(suffix) for name in config.architectures or ())
