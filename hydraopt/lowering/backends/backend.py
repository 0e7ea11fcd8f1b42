"""What lowering asks of a backend."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from typing import ClassVar

import torch
from executorch.exir import EdgeProgramManager
from torch import nn

from ...packing import IntegerRows
from ...schemes import Scheme
from ..metadata import Metadatum


class Backend(ABC):
    """What runs the matrix products of a program.

    Attributes:
        title: its name in messages.
    """

    title: ClassVar[str]

    @abstractmethod
    def quantize(self, model: nn.Module, scheme: Scheme) -> None:
        """Quantise all linear layers in place; a task's factors are none and stay float32.

        Raises:
            LoweringError: a scheme that the backend does not take, or a layer that does not fit it.
        """

    @abstractmethod
    def row_layer(self, rows: IntegerRows) -> nn.Module:
        """A layer of the rows that all tasks share: ``x [1, S, in] -> [1, S, n]``.

        It is asked for where the base is quantised, and holds the integers as they are.
        """

    def product(self, x: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
        """``x [1, S, n]`` times an input ``[1, n, m]`` of the program, ``S`` dynamic."""
        return torch.bmm(x, factor)

    @abstractmethod
    def delegate(
        self,
        methods: Mapping[str, torch.export.ExportedProgram],
        delegated: Collection[str],
        metadata: Mapping[str, Metadatum],
    ) -> EdgeProgramManager:
        """Hand over all that the backend takes of some methods; the others stay as they are.

        Args:
            methods: exported, by name.
            delegated: names of those to hand over.
            metadata: method name -> the constant that it returns.
        """

    @abstractmethod
    def undelegated(
        self, exported: torch.export.ExportedProgram, layers: Collection[str]
    ) -> list[str]:
        """Those of ``layers`` with a matrix product that it should have taken, and did not.

        Args:
            exported: a lowered method.
            layers: dotted names in the base model.
        """
