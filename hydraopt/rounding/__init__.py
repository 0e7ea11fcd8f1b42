"""Round a base model's weights to integers, with the inputs of its layers if there are any."""

from .gptq import gptq, inverse_factor
from .half_quadratic import round_half_quadratic
from .layers import Texts, clear_rounded, round_layers, set_rounded
from .levels import IntegerWeight, int8_activations, round_nearest, search_scales
from .running import running_rounded

__all__ = [
    "IntegerWeight",
    "Texts",
    "clear_rounded",
    "gptq",
    "int8_activations",
    "inverse_factor",
    "round_half_quadratic",
    "round_layers",
    "round_nearest",
    "running_rounded",
    "search_scales",
    "set_rounded",
]
