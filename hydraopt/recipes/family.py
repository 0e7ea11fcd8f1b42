"""The description of a model family."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from transformers import AutoModelForCausalLM, PreTrainedConfig

from ..zoo.model import EOS_ID, PAD_ID, VOCAB_SIZE

ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
TINY_DECODER = {
    "vocab_size": VOCAB_SIZE,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "bos_token_id": None,
    "eos_token_id": EOS_ID,
    "pad_token_id": PAD_ID,
    "tie_word_embeddings": True,
}


@dataclass(frozen=True)
class Family:
    """A model family.

    Attributes:
        base: hub id of the usual model.
        tiny: configuration of the architecture at a size that exports in seconds.
        targets: PEFT's ``target_modules``.
        auto: transformers' class of the model that adapters are trained on.
        pretrained: transformers' class of the saved base; None: ``auto``.
        task_type: PEFT's task type.
        head: name of the head that each task has; None: tasks have no heads.
        chat_template: chat template of the tiny tokenizer; None: no chat.
    """

    base: str
    tiny: PreTrainedConfig
    targets: Sequence[str]
    auto: Any = AutoModelForCausalLM
    pretrained: Any = None
    task_type: str | None = None
    head: str | None = None
    chat_template: str | None = None
