"""Compare the module to export with transformers.

The reference is the base model in transformers with the adapter unmerged, as PEFT runs it:
``layer(x) + B A x``. The module is compared in float32, before quantisation, so that both may
differ by rounding only.
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
from .kinds.kind import FactorInputs
from .settings import ExportSettings

LIMIT = 1e-3  # relative; about the rounding of factors to fp16, as PEFT saves them
TINIEST = 1e-30  # smallest norm to divide by, so that zeros equal zeros
SAMPLES = 256  # values kept of each layer's output, to find the first layer that differs

Samples = dict[str, tuple[torch.Size, torch.Tensor]]  # layer -> shape and some values of its output


@dataclass(frozen=True)
class Expected:
    """Reference outputs of transformers.

    Attributes:
        probe: the input.
        task: the task whose adapter was applied.
        outputs: one row per output to compare.
        samples: values of all layers' outputs, in the order in which they ran.
    """

    probe: Probe
    task: str
    outputs: torch.Tensor
    samples: Samples


def expect(
    base: BaseModel, settings: ExportSettings, adapters: Mapping[str, Mapping[str, Factors]]
) -> list[Expected]:
    """Compute reference outputs with transformers.

    Args:
        base: base model, not restructured yet.
        settings: export settings, resolved.
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
    kind: Kind, module: nn.Module, expected: Sequence[Expected], use: Callable[[str], FactorInputs]
) -> float | None:
    """Return the largest relative error of a module's outputs; None without references.

    Args:
        kind: kind of the base model.
        module: restructured model with slots, in float32.
        expected: references from :func:`expect`.
        use: returns a task's factors by input name.

    Raises:
        LoweringError: an error exceeds :data:`LIMIT`; names the first layer that differs.
    """
    report_stage("Comparing the model with transformers")
    errors = []
    for case in expected:
        with sampled(module.model) as samples:
            outputs = kind.outputs(module, case.probe, use(case.task))
        module.inputs.clear()  # methods may take other factors
        errors.append(_compared(case, outputs, samples, "the model to export"))
    return max(errors, default=None)


@torch.no_grad()
def quantized_outputs(
    kind: Kind, module: nn.Module, expected: Sequence[Expected], use: Callable[[str], FactorInputs]
) -> list[Expected]:
    """Return the outputs of a quantised module, which its program should have.

    Args:
        kind: kind of the base model.
        module: the module to lower.
        expected: whose probes of the whole model to use.
        use: returns a task's factors by input name.
    """
    found = []
    for case in expected:
        if case.probe.layers is None:
            outputs = kind.outputs(module, case.probe, use(case.task))
            found.append(Expected(case.probe, case.task, outputs, {}))
            module.inputs.clear()
    return found


@torch.no_grad()
def check_merged(base: BaseModel, expected: Sequence[Expected]) -> None:
    """Compare a base that has an adapter in its weights with the unmerged adapter.

    Args:
        base: base model, not restructured yet.
        expected: references from :func:`expect`.

    Raises:
        LoweringError: an error exceeds :data:`LIMIT`; names the first layer that differs.
    """
    for case in expected:
        with sampled(base.model) as samples:
            outputs = base.kind.reference(base.model, case.probe)
        _compared(case, outputs, samples, "the model with the adapter in its weights")


def _compared(case: Expected, outputs: torch.Tensor, samples: Samples, what: str) -> float:
    """Return the relative error of outputs; raise ``LoweringError`` if it exceeds the limit."""
    error = relative_error(outputs, case.outputs)
    if not error <= LIMIT:
        raise LoweringError(
            f"with task {case.task!r} and {case.probe.what} {what} differs from "
            f"transformers with the unmerged adapter by {error:.1e}, expected at most "
            f"{LIMIT:.0e}; {_where(case.samples, samples)}; this model cannot be exported "
            "right, but without this check",
            options=["no_check"],
        )
    return error


def relative_error(actual: torch.Tensor, reference: torch.Tensor) -> float:
    """Return the largest relative error of a row; infinite if the shapes differ."""
    if actual.shape != reference.shape:
        return torch.inf
    actual, reference = actual.flatten(1), reference.flatten(1)
    sizes = reference.norm(dim=1).clamp_min(TINIEST)
    return float(((actual - reference).norm(dim=1) / sizes).max())


@contextmanager
def beside_layers(model: nn.Module, factors: Mapping[str, Factors]) -> Iterator[None]:
    """Apply an adapter to ``model`` for the block, as PEFT applies an unmerged one.

    Args:
        model: the base model.
        factors: factors by module, see :mod:`hydraopt.factors.targets`.
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
    """Record some values of each layer's first output in the block."""
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


def _where(reference: Samples, actual: Samples) -> str:
    for name, (shape, values) in reference.items():
        if name in actual and actual[name][0] == shape:
            error = (actual[name][1] - values).norm() / values.norm().clamp_min(TINIEST)
            if not error <= LIMIT:
                return f"the first layer that differs is {name}"
    return "no layer differs in its first call"
