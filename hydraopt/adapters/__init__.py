"""Reading and writing LoRA adapters in PEFT's directory format."""

from .base_weights import BaseWeights, Fingerprint, is_copy, read_weights, written_weights
from .heads import classes_of
from .lora import TASK_NAME, AdapterSet, Factors, LoraAdapter, add_delta
from .peft_directory import ADAPTER, read_adapter, read_adapters, write_adapter
from .peft_directory import CONFIG as ADAPTER_CONFIG
from .surgery import apply_surgery
from .targets import Places, Role, Target, is_head, placed
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
    "Factors",
    "Fingerprint",
    "LoraAdapter",
    "Places",
    "Role",
    "Target",
    "add_delta",
    "apply_surgery",
    "check_task_type",
    "classes_of",
    "is_copy",
    "is_head",
    "placed",
    "read_adapter",
    "read_adapters",
    "read_weights",
    "write_adapter",
    "written_weights",
]
