"""HydraLoRA adapters: layers and directories."""

from .adapter import CONFIG, HYDRALORA, WEIGHTS, HydraFactors, HydraLora
from .layers import HydraConfig, HydraLinear

__all__ = [
    "CONFIG",
    "HYDRALORA",
    "WEIGHTS",
    "HydraConfig",
    "HydraFactors",
    "HydraLinear",
    "HydraLora",
]
