"""Reading and writing LoRA adapters in PEFT's directory format."""

from .heads import HEAD, classes_of, headed_layer
from .lora import CAUSAL_LM, TASK_NAME, AdapterSet, Factors, LoraAdapter, add_delta
from .peft_directory import ADAPTER, read_adapter, read_adapters, write_adapter
from .peft_directory import CONFIG as ADAPTER_CONFIG
from .surgery import SUFFIX, operate, operated_layer

__all__ = [
    "ADAPTER",
    "ADAPTER_CONFIG",
    "CAUSAL_LM",
    "HEAD",
    "SUFFIX",
    "TASK_NAME",
    "AdapterSet",
    "Factors",
    "LoraAdapter",
    "add_delta",
    "classes_of",
    "headed_layer",
    "operate",
    "operated_layer",
    "read_adapter",
    "read_adapters",
    "write_adapter",
]
