"""The interface of backends."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from typing import ClassVar

import torch
from executorch.exir import EdgeProgramManager
from torch import nn

from ...rounding import IntegerWeight
from ...schemes import Scheme
from ..metadata import Metadatum


class Backend(ABC):
    """Runs the matrix products of a program.

    Attributes:
        title: its name in messages.
    """

    title: ClassVar[str]

    @abstractmethod
    def check(self, layers: Mapping[str, tuple[nn.Linear, Scheme]]) -> None:
        """Check the scheme of each linear layer, by name.

        Raises:
            LoweringError: the backend does not support a scheme, or a layer does not fit it.
        """

    @abstractmethod
    def quantize(self, model: nn.Module, weights: Mapping[nn.Linear, IntegerWeight]) -> None:
        """Make quantised layers of exactly the given weights in place; factors stay float32."""

    @abstractmethod
    def row_layer(self, rows: IntegerWeight) -> nn.Module:
        """Build a layer of shared rows, ``x [1, S, in] -> [1, S, n]``, of exactly their integers.

        Only called if the base is quantised.
        """

    def product(self, x: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
        """Multiply ``x [1, S, n]``, S dynamic, by a program input ``[1, n, m]``."""
        return torch.bmm(x, factor)

    @abstractmethod
    def delegate(
        self,
        methods: Mapping[str, torch.export.ExportedProgram],
        delegated: Collection[str],
        metadata: Mapping[str, Metadatum],
    ) -> EdgeProgramManager:
        """Convert methods to an edge program and delegate what the backend takes.

        Args:
            methods: exported methods by name.
            delegated: names of the methods to delegate; the others stay as they are.
            metadata: method name -> constant that it returns.
        """

    @abstractmethod
    def undelegated(
        self, exported: torch.export.ExportedProgram, layers: Collection[str]
    ) -> list[str]:
        """Return the ``layers`` with a matrix product that was not delegated, but should be.

        Args:
            exported: a lowered method.
            layers: dotted names in the base model.
        """
