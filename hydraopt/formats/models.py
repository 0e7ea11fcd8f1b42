"""What a manifest says of a base model, a record for each kind."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

CAUSAL_LM, ENCODER, IMAGE = "causal_lm", "encoder", "image"


@dataclass(frozen=True)
class Chat:
    """One user turn in the base model's own chat template: ``prefix + message + suffix``.

    The text is encoded at once and as it is: special tokens in it are tokens, and none is added,
    as the prefix begins with the one that begins a text where the template has it.

    Attributes:
        prefix: system prompt, if the template has a default one, and head of the user's turn.
        suffix: end of the user's turn and head of the answer.
        strip: whether the template takes white space off both ends of the message.
        arguments: variables of the template, name -> JSON, with which the others were found.
    """

    prefix: str
    suffix: str
    strip: bool
    arguments: Mapping[str, str] = field(default_factory=dict)

    def render(self, message: str) -> str:
        """The prompt of one user turn."""
        return self.prefix + (message.strip() if self.strip else message) + self.suffix


@dataclass(frozen=True)
class CausalLm:
    """A language model that continues a text: ``forward`` takes token ids and positions.

    Attributes:
        vocabulary: number of token ids.
        max_length: positions of the KV cache.
        prefill_length: most tokens of one call of ``forward``, less than ``max_length``; longer
            prompts are fed in pieces.
        embedding: ``none``, ``4w`` or ``8w``, the token embedding.
        attention: ``llm`` (ExecuTorch's operators for language models) or ``portable``.
        eos_ids: tokens that end a generation: those of the base's ``generation_config``, the
            tokenizer's end of text, and the special token that ends a turn of the chat template.
        chat: the base's chat template for one user turn; None where it has none that fits.
    """

    kind: ClassVar[str] = CAUSAL_LM
    vocabulary: int
    max_length: int
    prefill_length: int
    embedding: str
    attention: str
    eos_ids: tuple[int, ...] = ()
    chat: Chat | None = None


@dataclass(frozen=True)
class Pooling:
    """How an encoder's hidden states become the embedding of a text.

    Attributes:
        mode: in sentence-transformers' terms (``mean``, ``cls``, ``max``, ``lasttoken``, …).
        normalized: whether the embedding has the length 1.
        prompt: what is put before every text; token ids are taken as they are.
    """

    mode: str
    normalized: bool = False
    prompt: str = ""


@dataclass(frozen=True)
class Encoder:
    """A model that reads a text as a whole: ``forward`` takes token ids and attention mask.

    Attributes:
        vocabulary: number of token ids.
        max_length: most tokens of a text.
        embedding: ``none``, ``4w`` or ``8w``, the token embedding.
        per_token: whether the output has a row for each token, ``[S, classes]``.
        pooling: of a model that embeds texts; None if it gives classes.
    """

    kind: ClassVar[str] = ENCODER
    vocabulary: int
    max_length: int
    embedding: str
    per_token: bool = False
    pooling: Pooling | None = None


@dataclass(frozen=True)
class Image:
    """An image model: ``forward`` takes pixel values.

    Attributes:
        shape: channels, height and width of its input.
    """

    kind: ClassVar[str] = IMAGE
    shape: tuple[int, int, int]


Model = CausalLm | Encoder | Image


def read_model(fields: Mapping) -> Model:
    """The record in a manifest's ``model``, which its schema has checked."""
    match fields:
        case {"kind": "causal_lm", "eos_ids": eos_ids, "chat": chat, **rest}:
            return CausalLm(**rest, eos_ids=tuple(eos_ids), chat=chat and Chat(**chat))
        case {"kind": "encoder", "pooling": pooling, **rest}:
            return Encoder(**rest, pooling=pooling and Pooling(**pooling))
        case _:
            return Image(tuple(fields["shape"]))
