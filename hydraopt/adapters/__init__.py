"""Read and write LoRA adapters in PEFT's directory format."""

from .base_weights import BaseWeights, Fingerprint, is_copy, read_weights, written_weights
from .lora import TASK_NAME, AdapterSet, LoraAdapter
from .modules import each_module
from .peft_directory import ADAPTER, read_adapter, read_adapters, write_adapter
from .peft_directory import CONFIG as ADAPTER_CONFIG
from .task_types import FEATURES, PEFT_CAUSAL_LM, SEQ_CLS, TOKEN_CLS, check_task_type

__all__ = [
    "ADAPTER",
    "ADAPTER_CONFIG",
    "FEATURES",
    "PEFT_CAUSAL_LM",
    "SEQ_CLS",
    "TASK_NAME",
    "TOKEN_CLS",
    "AdapterSet",
    "BaseWeights",
    "Fingerprint",
    "LoraAdapter",
    "check_task_type",
    "each_module",
    "is_copy",
    "read_adapter",
    "read_adapters",
    "read_weights",
    "write_adapter",
    "written_weights",
]
