"""Find target layers by name."""

from collections.abc import Sequence

from torch import nn

from ..errors import TrainingError


def target_layers(model: nn.Module, targets: Sequence[str]) -> dict[str, nn.Linear]:
    """Return the linear layers whose dotted name is, or ends in, one of ``targets``, as in PEFT.

    Raises:
        TrainingError: a target matches no layer, or a layer that is not linear.
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
                f"target {target!r} matches no layer of the base; its linear layers: "
                f"{', '.join(names)}"
            )
        for name, module in matches.items():
            if not isinstance(module, nn.Linear):
                raise TrainingError(
                    f"target {target!r}: {name} is a {type(module).__name__}, expected nn.Linear; "
                    "name the linear layers inside"
                )
        layers |= matches
    return layers
