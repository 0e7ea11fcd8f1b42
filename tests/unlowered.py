"""What an export lowers, run in PyTorch: milliseconds, where a program takes many seconds."""

from pathlib import Path

import torch
from conftest import FLOAT32

from hydraopt.lowering.factors import slot_factors
from hydraopt.lowering.lowered import float_module
from hydraopt.lowering.plan import StaticPlan, make_plan
from hydraopt.lowering.settings import ExportSettings
from hydraopt.lowering.slots import set_constants


class Unlowered:
    """The module that an export would lower, before it is quantised; called as a session is.

    Args: as of :func:`~hydraopt.lowering.bundle.export_bundle`.
    """

    def __init__(
        self,
        adapters,
        base: str | Path,
        settings: ExportSettings = FLOAT32,
        swap: str | None = None,
    ):
        plan = self.plan = make_plan(adapters, str(base), settings, swap)
        self._static = isinstance(plan, StaticPlan)
        if self._static:
            plan.adapters.apply(plan.base.model)
        shapes = {} if self._static else plan.adapters.shapes
        self._module = float_module(plan.base, plan.settings, shapes)

    def switch(self, task: str) -> None:
        """Make another task current, and clear the KV cache of a causal LM."""
        self._task, self._position, self._factors = task, 0, {}
        if self._static:
            return
        factors = self.plan.adapters.task_factors(task)
        if self.plan.methods:
            set_constants(self._module, factors)
        else:
            self._factors = slot_factors(factors)

    @torch.no_grad()
    def forward(self, ids: list[int]) -> torch.Tensor:
        """A causal LM's logits ``[vocabulary]`` after further tokens."""
        start, self._position = self._position, self._position + len(ids)
        positions = torch.arange(start, self._position)
        return self._module(torch.tensor([ids]), positions, self._factors)[0, -1].clone()

    @torch.no_grad()
    def run(self, given: list[int] | torch.Tensor) -> torch.Tensor:
        """What the model gives of token ids, or of an image's pixels."""
        if isinstance(given, torch.Tensor):
            inputs = (given[None],)
        else:
            inputs = torch.tensor([given]), torch.ones(1, len(given), dtype=torch.long)
        found = self._module(*inputs, self._factors)[0]
        return found[..., : self.plan.classes.get(self._task)]
