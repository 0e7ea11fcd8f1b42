"""Finding the layers to train by name."""

from collections.abc import Sequence

from torch import nn

from ..errors import TrainingError


def target_layers(model: nn.Module, targets: Sequence[str]) -> dict[str, nn.Linear]:
    """The linear layers whose dotted name is one of ``targets`` or ends in one, as in PEFT.

    Raises:
        TrainingError: a target that names no layer, or one that is no linear layer.
    """
    layers: dict[str, nn.Linear] = {}
    for target in targets:
        matches = {
            name: module
            for name, module in model.named_modules()
            if name == target or name.endswith(f".{target}")
        }
        if not matches:
            linear = (n for n, m in model.named_modules() if isinstance(m, nn.Linear))
            names = sorted({name.rpartition(".")[2] for name in linear})
            raise TrainingError(
                f"target {target!r} is no layer of the base model; there are: {', '.join(names)}"
            )
        for name, module in matches.items():
            if not isinstance(module, nn.Linear):
                raise TrainingError(
                    f"target {target!r}: {name} is a {type(module).__name__}, expected nn.Linear; "
                    "name the linear layers inside"
                )
        layers |= matches
    return layers
