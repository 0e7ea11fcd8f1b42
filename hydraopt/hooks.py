"""Context managers that change or record the inputs and outputs of layers."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch.utils.hooks import RemovableHandle

Change = Callable[[torch.Tensor], torch.Tensor]


@contextmanager
def outputs_plus(model: torch.nn.Module, changes: Mapping[str, Change]) -> Iterator[None]:
    """While the block runs, module ``name`` returns ``module(x) + changes[name](x)``."""

    def hook(change: Change):
        return lambda _, inputs, output: output + change(inputs[0])

    layers = {name: model.get_submodule(name) for name in changes}
    with _removed([layers[n].register_forward_hook(hook(x)) for n, x in changes.items()]):
        yield


@contextmanager
def input_changed(module: torch.nn.Module, change: Change) -> Iterator[None]:
    """While the block runs, ``module`` returns ``module(change(x))``."""
    with _removed([module.register_forward_pre_hook(lambda _, inputs: (change(inputs[0]),))]):
        yield


@contextmanager
def output_replaced(module: torch.nn.Module, change: Change) -> Iterator[None]:
    """While the block runs, ``module`` returns ``change(x)``."""
    with _removed([module.register_forward_hook(lambda _, inputs, __: change(inputs[0]))]):
        yield


@contextmanager
def captured_inputs(
    model: torch.nn.Module, modules: Iterable[str]
) -> Iterator[dict[str, torch.Tensor]]:
    """Record the last input of each of ``modules`` while the block runs, in float32."""
    found: dict[str, torch.Tensor] = {}

    def hook(name: str):
        return lambda _, inputs: found.__setitem__(name, inputs[0].float())

    layers = {name: model.get_submodule(name) for name in modules}
    with _removed([x.register_forward_pre_hook(hook(name)) for name, x in layers.items()]):
        yield found


@contextmanager
def _removed(handles: Iterable[RemovableHandle]) -> Iterator[None]:
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
