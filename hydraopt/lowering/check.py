"""Whether the model that is exported computes what transformers does with the unmerged adapter.

The reference is the base model as transformers runs it, with the adapter beside its layers as PEFT
applies it, ``layer(x) + B A x``. What is compared is the module that is traced, in float32: before
anything is quantised both sides may differ by rounding only.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn
from torch.nn.functional import linear

from ..errors import LoweringError
from ..factors import Factors, Role, Target, apply_surgery
from ..hooks import input_changed, output_replaced, outputs_plus
from ..progress import report_stage
from .base_model import BaseModel
from .kinds import Kind, Probe
from .kinds.kind import Inputs
from .settings import ExportSettings

LIMIT = 1e-3  # relative, about the rounding of factors in fp16, in which PEFT files keep them
TINIEST = 1e-30  # of an output's size, so that zeros equal zeros
SAMPLES = 256  # values of a layer's output that are kept to find the first one that differs

Samples = dict[str, tuple[torch.Size, torch.Tensor]]  # layer -> shape and some values of its output


@dataclass(frozen=True)
class Expected:
    """What transformers computes.

    Attributes:
        probe: for this input.
        task: with this task's adapter.
        outputs: a row for each output that is compared.
        samples: of all layers' outputs, in the order in which they ran.
    """

    probe: Probe
    task: str
    outputs: torch.Tensor
    samples: Samples


def expect(
    base: BaseModel, settings: ExportSettings, adapters: Mapping[str, Mapping[str, Factors]]
) -> list[Expected]:
    """Run a base model as transformers has it, with some adapters.

    Args:
        base: loaded, not restructured yet.
        settings: of the export, resolved.
        adapters: task -> module -> factors, float32.
    """
    report_stage("Running the base model in transformers")
    return [
        _expected(base, probe, task, factors)
        for task, factors in adapters.items()
        for probe in base.kind.probes(base.model, settings)
    ]


@torch.no_grad()
def _expected(base: BaseModel, probe: Probe, task: str, factors: Mapping[str, Factors]) -> Expected:
    with beside_layers(base.model, factors), sampled(base.model) as samples:
        return Expected(probe, task, base.kind.reference(base.model, probe), samples)


@torch.no_grad()
def largest_deviation(
    kind: Kind, module: nn.Module, expected: Sequence[Expected], use: Callable[[str], Inputs]
) -> float | None:
    """The largest relative error of a module's outputs; None if nothing is expected of it.

    Args:
        kind: of the base model.
        module: with slots, in float32.
        expected: what :func:`expect` gave.
        use: gives a task's factors as ``module`` takes them.

    Raises:
        LoweringError: an error above :data:`LIMIT`, with the first layer that differs.
    """
    report_stage("Comparing the model with transformers")
    errors = []
    for case in expected:
        with sampled(module.model) as samples:
            found = kind.outputs(module, case.probe, use(case.task))
        module.inputs.clear()  # a program may take others
        error = relative_error(found, case.outputs)
        if not error <= LIMIT:
            raise LoweringError(
                f"with task {case.task!r} and {case.probe.what} the model to export differs from "
                f"transformers with the unmerged adapter by {error:.1e}, expected at most "
                f"{LIMIT:.0e}; {_where(case.samples, samples)}; this model cannot be exported "
                "right, but without this check",
                options=["no_check"],
            )
        errors.append(error)
    return max(errors, default=None)


def relative_error(found: torch.Tensor, wanted: torch.Tensor) -> float:
    """The largest relative error of a row; infinite for other shapes."""
    if found.shape != wanted.shape:
        return torch.inf
    found, wanted = found.flatten(1), wanted.flatten(1)
    sizes = wanted.norm(dim=1).clamp_min(TINIEST)
    return float(((found - wanted).norm(dim=1) / sizes).max())


@contextmanager
def beside_layers(model: nn.Module, factors: Mapping[str, Factors]) -> Iterator[None]:
    """Apply an adapter to ``model`` while the block runs, as PEFT applies one that is not merged.

    Args:
        model: a base model.
        factors: by module, see :mod:`hydraopt.factors.targets`.
    """
    with ExitStack() as stack:
        for module, (a, b) in factors.items():
            target = Target.parse(module)
            layer = model.get_submodule(target.layer)
            if target.role is Role.SURGERY:
                hook = input_changed(layer, partial(apply_surgery, a=a, b=b))
            elif target.role is Role.HEAD:
                hook = output_replaced(layer, partial(linear, weight=a, bias=b[0]))
            else:
                hook = outputs_plus(model, {target.layer: partial(_low_rank, a, b)})
            stack.enter_context(hook)
        yield


def _low_rank(a: torch.Tensor, b: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    return linear(linear(x, a), b)


@contextmanager
def sampled(model: nn.Module) -> Iterator[Samples]:
    """Some values of what each layer gives in its first call while the block runs."""
    samples: Samples = {}
    with ExitStack() as stack:
        for name, module in model.named_modules():
            hook = module.register_forward_hook(partial(_sample, samples, name))
            stack.callback(hook.remove)
        yield samples


def _sample(samples: Samples, name: str, _module, _inputs, output) -> None:
    first = output[0] if isinstance(output, tuple) and output else output
    if name and name not in samples and isinstance(first, torch.Tensor):
        values = first.detach().flatten()
        step = max(1, len(values) // SAMPLES)
        samples[name] = first.shape, values[::step].float().clone()


def _where(wanted: Samples, found: Samples) -> str:
    for name, (shape, values) in wanted.items():
        if name in found and found[name][0] == shape:
            error = (found[name][1] - values).norm() / values.norm().clamp_min(TINIEST)
            if not error <= LIMIT:
                return f"the first layer that differs is {name}"
    return "no layer differs in one call, so that it must be several that do"
