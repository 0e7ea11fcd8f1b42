"""The manifest's record of the base model, one class for each kind."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from .chat import ChatTemplate, read_chat

CAUSAL_LM, ENCODER, IMAGE = "causal_lm", "encoder", "image"
LARGEST_EDGE = 4096  # pixels of the shorter edge of a picture that is resized


@dataclass(frozen=True)
class CausalLm:
    """A causal language model; ``forward`` takes token ids and positions.

    Attributes:
        vocabulary: number of token ids.
        max_length: length of the KV cache in tokens.
        prefill_length: largest number of tokens in a call of ``forward``, less than
            ``max_length``; longer prompts are split.
        embedding: quantisation of the token embedding: ``none``, ``4w`` or ``8w``.
        attention: ``llm`` (ExecuTorch's operators for language models) or ``portable``.
        eos_ids: end-of-sequence tokens: those of the base's ``generation_config``, the
            tokenizer's, and the special token that ends a turn of the chat template.
        chat: the base's chat template; None if it has none of this form.
    """

    kind: ClassVar[str] = CAUSAL_LM
    vocabulary: int
    max_length: int
    prefill_length: int
    embedding: str
    attention: str
    eos_ids: tuple[int, ...] = ()
    chat: ChatTemplate | None = None


@dataclass(frozen=True)
class Pooling:
    """Pooling of an encoder's hidden states to the embedding of a text.

    Attributes:
        mode: sentence-transformers' name: ``mean``, ``cls``, ``max``, ``lasttoken``, ….
        normalized: whether the embedding is scaled to length 1.
        prompt: prefix of every text; not applied to token ids.
    """

    mode: str
    normalized: bool = False
    prompt: str = ""


@dataclass(frozen=True)
class Encoder:
    """A text encoder; ``forward`` takes token ids and attention mask.

    Attributes:
        vocabulary: number of token ids.
        max_length: largest number of tokens in a text.
        embedding: quantisation of the token embedding: ``none``, ``4w`` or ``8w``.
        per_token: whether there are logits for each token, ``[S, classes]``.
        pooling: pooling of an embedding model; None for a classifier.
    """

    kind: ClassVar[str] = ENCODER
    vocabulary: int
    max_length: int
    embedding: str
    per_token: bool = False
    pooling: Pooling | None = None


@dataclass(frozen=True)
class Preprocessing:
    """How an RGB picture of any size becomes pixel values.

    It is resized as by Pillow: rows, then columns, with a filter as wide as needed to read every
    pixel, rounded to 8 bits after each.

    Attributes:
        resample: the filter: ``bilinear``, or ``bicubic`` with a = -0.5.
        factor: number that every value from 0 to 255 is multiplied by; next, ``mean`` is
            subtracted, and the result divided by ``std``.
        mean: number for each channel.
        std: number for each channel.
        shortest_edge: the shorter edge of the resized picture in pixels, whose centre is the
            input; None: the picture is resized to the input's height and width.
    """

    resample: str
    factor: float
    mean: tuple[float, ...]
    std: tuple[float, ...]
    shortest_edge: int | None = None


@dataclass(frozen=True)
class Image:
    """An image model: ``forward`` takes pixel values.

    Attributes:
        shape: channels, height and width of the input.
        preprocessing: how a picture becomes pixel values; None if the base does not say so.
    """

    kind: ClassVar[str] = IMAGE
    shape: tuple[int, int, int]
    preprocessing: Preprocessing | None = None

    @property
    def fits(self) -> bool:
        """Whether resized pictures have the input's channels, and reach all of it."""
        channels, *edges = self.shape
        steps = self.preprocessing
        return steps is None or (
            channels == 3 and max(edges) <= (steps.shortest_edge or LARGEST_EDGE) <= LARGEST_EDGE
        )


Model = CausalLm | Encoder | Image


def read_model(fields: Mapping) -> Model:
    """Parse a manifest's ``model``, which must match the schema."""
    match fields:
        case {"kind": "causal_lm", "eos_ids": eos_ids, "chat": chat, **rest}:
            return CausalLm(**rest, eos_ids=tuple(eos_ids), chat=chat and read_chat(chat))
        case {"kind": "encoder", "pooling": pooling, **rest}:
            return Encoder(**rest, pooling=pooling and Pooling(**pooling))
        case _:
            steps = fields["preprocessing"]
            return Image(tuple(fields["shape"]), steps and _read_preprocessing(steps))


def _read_preprocessing(fields: Mapping) -> Preprocessing:
    lists = {name: tuple(fields[name]) for name in ("mean", "std")}
    return Preprocessing(**{**fields, **lists})
