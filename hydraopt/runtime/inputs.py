"""Inputs of programs that are no causal LM: checked, and in the form that the program takes."""

from collections.abc import Sequence
from typing import Any

import torch

from ..errors import BundleError, TaskError, known
from ..factors import is_head
from ..formats.manifest import IMAGE, Manifest


def inputs_of(given: Sequence[int] | torch.Tensor, manifest: Manifest) -> list[torch.Tensor]:
    """Token ids and attention mask, int64 ``[1, S]``; or pixel values, float32 ``[1, C, H, W]``.

    Raises:
        TaskError: token ids or an image that the model cannot take.
    """
    if manifest.kind == IMAGE:
        return [_image(given, manifest)]
    ids = list(given)
    check_ids(ids, manifest)
    most = known(manifest.max_length, "max length")
    if len(ids) > most:
        raise TaskError(
            f"{len(ids)} tokens, expected at most {most}; shorten the text or "
            "export with more --max-length"
        )
    return [torch.tensor([ids]), torch.ones(1, len(ids), dtype=torch.int64)]


def check_ids(ids: Sequence[int], manifest: Manifest) -> None:
    """Raise ``TaskError`` if there are no token ids, or unknown ones."""
    if not ids:
        raise TaskError("the prompt is empty, expected at least one token")
    vocabulary = known(manifest.vocabulary, "vocabulary")
    if wrong := [token for token in ids if not 0 <= token < vocabulary]:
        raise TaskError(f"token id {wrong[0]} is outside the vocabulary of {vocabulary}")


def check_classes(factors: Sequence[torch.Tensor], task: str, manifest: Manifest) -> None:
    """Raise ``BundleError`` if a task's head has not as many classes as the manifest says."""
    for name, factor in zip(manifest.factors, factors, strict=True):
        module, _, side = name.rpartition(".")
        if is_head(module) and side == "A":
            classes, expected = int(factor[0].any(0).sum()), manifest.classes.get(task)
            if classes != expected:
                raise BundleError(
                    f"the pack of task {task!r} has a head of {classes} classes, expected "
                    f"{expected} as in manifest.json; export or copy the bundle again"
                )


def example(manifest: Manifest) -> list[int] | torch.Tensor:
    """An input that any model of the bundle's kind takes: one token, or a black image."""
    return torch.zeros(manifest.image) if manifest.kind == IMAGE else [0]


def _image(pixels: Any, manifest: Manifest) -> torch.Tensor:
    expected = known(manifest.image, "image")
    shape = tuple(pixels.shape) if isinstance(pixels, torch.Tensor) else type(pixels).__name__
    if shape not in (expected, (1, *expected)):
        raise TaskError(
            f"the input is {shape}, expected an image {expected} (channels, height, width) "
            "as a tensor; resize it"
        )
    return pixels.to(torch.float32).reshape(1, *expected).contiguous()
