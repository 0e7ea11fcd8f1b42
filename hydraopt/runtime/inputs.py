"""Check the inputs of encoders and image models, and convert them to tensors."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ..errors import BundleError, TaskError
from ..factors import is_head
from ..formats.models import CausalLm, Encoder, Image, Model


def inputs_of(given: Any, model: Encoder | Image) -> list[torch.Tensor]:
    """Convert an input to the tensors that ``forward`` takes before the factors.

    Args:
        given: token ids of an encoder; an image model's pixel values, or a picture as
            :func:`.images.pixel_values` takes it.
        model: the model.

    Returns:
        Token ids and attention mask, int64 ``[1, S]``, or pixel values, float32 ``[1, C, H, W]``.

    Raises:
        TaskError: invalid token ids, too many of them, or an image of another shape.
    """
    if isinstance(model, Image):
        return [_image(given, model)]
    ids = list(given)
    check_ids(ids, model)
    if len(ids) > model.max_length:
        raise TaskError(
            f"{len(ids)} tokens, expected at most {model.max_length}; shorten the text or "
            "export with a longer context",
            options=["max_length"],
        )
    return [torch.tensor([ids]), torch.ones(1, len(ids), dtype=torch.int64)]


def check_ids(ids: Sequence[int], model: CausalLm | Encoder) -> None:
    """Raise ``TaskError`` if ``ids`` is empty or holds an id outside the vocabulary."""
    if not ids:
        raise TaskError("the prompt is empty, expected at least one token")
    if wrong := [token for token in ids if not 0 <= token < model.vocabulary]:
        raise TaskError(f"token id {wrong[0]} is outside the vocabulary of {model.vocabulary}")


def check_continuation(ids: Sequence[int], position: int, model: CausalLm) -> None:
    """Raise ``TaskError`` unless a sequence of ``position`` tokens can go on with ``ids``."""
    end, most = position + len(ids), model.max_length
    check_ids(ids, model)
    if end > most or len(ids) >= most:
        raise TaskError(
            f"{end} tokens, expected at most {most - 1} in a prompt and "
            f"{most} in all; shorten it or export with a longer context",
            options=["max_length"],
        )


def check_classes(factors: Mapping[str, torch.Tensor], task: str, expected: int | None) -> None:
    """Raise ``BundleError`` if a task's head does not have ``expected`` classes."""
    for name, factor in factors.items():
        module, _, side = name.rpartition(".")
        if is_head(module) and side == "A":
            classes = int(factor[0].any(0).sum())
            if classes != expected:
                raise BundleError(
                    f"the pack of task {task!r} has a head of {classes} classes, expected "
                    f"{expected} as in manifest.json; export or copy the bundle again"
                )


def example(model: Model) -> list[int] | torch.Tensor:
    """Return an input that any model of this kind accepts: one token, or a black image."""
    return torch.zeros(model.shape) if isinstance(model, Image) else [0]


def _image(pixels: Any, model: Image) -> torch.Tensor:
    from .images import is_picture, pixel_values  # Pillow, which other models do not need

    if is_picture(pixels):
        return pixel_values(pixels, model)
    expected = model.shape
    shape = tuple(pixels.shape) if isinstance(pixels, torch.Tensor) else type(pixels).__name__
    if shape not in (expected, (1, *expected)):
        raise TaskError(
            f"the input is {shape}, expected an image {expected} (channels, height, width) "
            "as a float tensor, or a picture, uint8 (height, width, 3)"
        )
    return pixels.to(torch.float32).reshape(1, *expected).contiguous()
