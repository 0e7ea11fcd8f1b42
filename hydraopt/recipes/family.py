"""What a recipe says of a family of models."""

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
    """A family of models.

    Attributes:
        base: hub id of the model that people deploy.
        tiny: the family's architecture at a size that exports in seconds.
        targets: names of the layers that adapters change, as PEFT takes them.
        auto: transformers' class for what adapters are trained on.
        pretrained: transformers' class for what the base was saved as; None: as ``auto`` says.
        task_type: PEFT's name of what adapters give.
        head: name of the classifier that every task has of its own; None: tasks have none.
        chat_template: of the tiny tokenizer, in the family's form; None: it has none.
    """

    base: str
    tiny: PreTrainedConfig
    targets: Sequence[str]
    auto: Any = AutoModelForCausalLM
    pretrained: Any = None
    task_type: str | None = None
    head: str | None = None
    chat_template: str | None = None
