"""How far packs on a rounded base are from what the float base does with an unmerged adapter."""

from collections.abc import Callable, Mapping

import torch
from torch.nn.functional import kl_div

from hydraopt.adapters import LoraAdapter
from hydraopt.calibration import codes
from hydraopt.evaluation import adapted
from hydraopt.factors import Factors
from hydraopt.hooks import outputs_plus
from hydraopt.lowering.kept_rounding import Student
from hydraopt.training import CalibrationData, continuations


def divergence_from(
    data: CalibrationData, adapter: LoraAdapter, student: Student
) -> Callable[[Mapping[str, Factors]], float]:
    """Return the divergence of a task's factors from the adapter, along its own continuations."""
    model = data.model
    with adapted(model, adapter.factors), torch.no_grad():
        texts = continuations(model, [row for row, _ in data.prompts([adapter.name])])
        target = codes._predictions(model, texts)

    def divergence(factors: Mapping[str, Factors]) -> float:
        changes = {name: lambda x, f=f: x @ f.a.T @ f.b.T for name, f in factors.items()}
        with student.running(model), torch.no_grad(), outputs_plus(model, changes):
            found = codes._predictions(model, texts)
        return float(kl_div(found, target, log_target=True, reduction="batchmean"))

    return divergence
