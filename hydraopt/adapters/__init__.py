"""Reading and writing LoRA adapters in PEFT's directory format."""

from .lora import AdapterSet, Factors, LoraAdapter
from .peft_directory import read_adapter, read_adapters, write_adapter

__all__ = ["AdapterSet", "Factors", "LoraAdapter", "read_adapter", "read_adapters", "write_adapter"]
