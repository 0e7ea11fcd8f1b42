"""The XNNPACK backend, which runs matrix products on CPUs."""

from collections.abc import Collection, Mapping

import torch
from executorch.exir import EdgeProgramManager
from torch import nn

from ....rounding import IntegerWeight
from ....schemes import Scheme
from ...metadata import Metadatum
from ..backend import Backend
from .layers import check_layers, quantize_layers, row_layer
from .partition import delegate, undelegated


class Xnnpack(Backend):
    """ExecuTorch's backend for CPUs.

    Products with program inputs are ``torch.bmm``, the only product without a constant operand that
    XNNPACK takes. It packs the factor in every call.
    """

    title = "XNNPACK"

    def check(self, layers: Mapping[str, tuple[nn.Linear, Scheme]]) -> None:
        """As :meth:`.Backend.check`: int4 in groups or int8, with int8 activations."""
        check_layers(layers)

    def quantize(self, model: nn.Module, weights: Mapping[nn.Linear, IntegerWeight]) -> None:
        """As :meth:`.Backend.quantize`."""
        quantize_layers(model, weights)

    def row_layer(self, rows: IntegerWeight) -> nn.Module:
        """As :meth:`.Backend.row_layer`."""
        return row_layer(rows)

    def delegate(
        self,
        methods: Mapping[str, torch.export.ExportedProgram],
        delegated: Collection[str],
        metadata: Mapping[str, Metadatum],
    ) -> EdgeProgramManager:
        """As :meth:`.Backend.delegate`."""
        return delegate(methods, delegated, metadata)

    def undelegated(
        self, exported: torch.export.ExportedProgram, layers: Collection[str]
    ) -> list[str]:
        """As :meth:`.Backend.undelegated`."""
        return undelegated(exported, layers)


BACKEND = Xnnpack()
