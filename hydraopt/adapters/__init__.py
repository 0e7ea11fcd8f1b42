"""Reading and writing LoRA adapters in PEFT's directory format."""

from .lora import TASK_NAME, AdapterSet, Factors, LoraAdapter
from .peft_directory import CONFIG as ADAPTER_CONFIG
from .peft_directory import read_adapter, read_adapters, write_adapter

__all__ = [
    "ADAPTER_CONFIG",
    "TASK_NAME",
    "AdapterSet",
    "Factors",
    "LoraAdapter",
    "read_adapter",
    "read_adapters",
    "write_adapter",
]
