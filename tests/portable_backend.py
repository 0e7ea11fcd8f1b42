"""A backend that takes nothing: the program runs on ExecuTorch's portable operators."""

import torch
from executorch.exir import EdgeCompileConfig, to_edge_transform_and_lower

from hydraopt.errors import LoweringError
from hydraopt.lowering.backends.backend import Backend


class Portable(Backend):
    title = "nothing"

    def check(self, layers):
        for _, scheme in layers.values():
            if scheme.quantizes:
                raise LoweringError(f"ExecuTorch's portable operators take no {scheme.name}")

    def quantize(self, model, weights):
        assert not weights

    def row_layer(self, rows):
        raise AssertionError("only a quantised base has layers of rows")

    def delegate(self, methods, delegated, metadata):
        return to_edge_transform_and_lower(
            dict(methods),
            constant_methods=dict(metadata),
            compile_config=EdgeCompileConfig(_check_ir_validity=False, _skip_dim_order=True),
        )

    def undelegated(self, exported: torch.export.ExportedProgram, layers):
        return []


BACKEND = Portable()
