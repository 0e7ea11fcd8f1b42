"""Reading and writing LoRA adapters in PEFT's directory format."""

from .lora import TASK_NAME, AdapterSet, Factors, LoraAdapter
from .peft_directory import CONFIG as ADAPTER_CONFIG
from .peft_directory import read_adapter, read_adapters, write_adapter
from .surgery import SUFFIX, operate, operated_layer

__all__ = [
    "ADAPTER_CONFIG",
    "SUFFIX",
    "TASK_NAME",
    "AdapterSet",
    "Factors",
    "LoraAdapter",
    "operate",
    "operated_layer",
    "read_adapter",
    "read_adapters",
    "write_adapter",
]
