"""Pictures to an image model's pixel values."""

from typing import Any

import numpy as np
import torch
from PIL import ExifTags
from PIL.Image import Image as Picture
from PIL.Image import Resampling, fromarray

from ..errors import TaskError
from ..formats.models import Image, Preprocessing

RGB = "RGB"
UPRIGHT = 1  # of EXIF's orientations
LONGEST = 1 << 14  # pixels of an edge, resized or not


def pixel_values(picture: Picture | np.ndarray | torch.Tensor, model: Image) -> torch.Tensor:
    """Resize, crop and normalise a picture as the base's image preprocessor does.

    Args:
        picture: of any size, RGB: Pillow's, or uint8 ``[height, width, 3]``.
        model: the image model.

    Returns:
        float32 ``[1, C, H, W]``.

    Raises:
        TaskError: another colour space, shape or orientation, an edge of more than 16384 pixels
            before or after resizing, or the bundle does not say how.
    """
    steps = model.preprocessing
    if steps is None:
        raise TaskError(
            "the bundle does not say how pictures become pixel values, as its base model has no "
            "image preprocessor of a supported form; pass pixel values, float32 "
            f"{list(model.shape)}"
        )
    resized = _resized(_rgb(picture), steps, model.shape[1:])
    values = (np.asarray(resized).astype(np.float64) * steps.factor).astype(np.float32)
    mean, std = (np.array(x, np.float32) for x in (steps.mean, steps.std))
    return torch.from_numpy(((values - mean) / std).transpose(2, 0, 1)[None].copy())


def is_picture(given: Any) -> bool:
    """Return whether an input is a picture, not pixel values."""
    return isinstance(given, Picture) or str(getattr(given, "dtype", "")).endswith("uint8")


def _rgb(given: Any) -> Picture:
    """Return a picture of Pillow's, upright and RGB."""
    if isinstance(given, Picture):
        turned = given.getexif().get(ExifTags.Base.Orientation, UPRIGHT) != UPRIGHT
        if given.mode == RGB and not turned and min(given.size) > 0:
            return given
        found = f"{given.mode}{', turned by its EXIF orientation' if turned else ''}"
    else:
        pixels = np.ascontiguousarray(given)
        if pixels.ndim == 3 and pixels.shape[2] == 3 and pixels.size > 0:
            return fromarray(pixels)
        found = f"{pixels.dtype} {list(pixels.shape)}"
    raise TaskError(
        f"the picture is {found}, expected upright {RGB}, uint8 [height, width, 3]; convert it, "
        "for example with Pillow: ImageOps.exif_transpose(picture).convert('RGB')"
    )


def _resized(picture: Picture, steps: Preprocessing, size: tuple[int, int]) -> Picture:
    """Resize a picture, and cut it to the centre of ``size``, height and width."""
    height, width = size
    wide, high = _edges(picture, steps.shortest_edge) if steps.shortest_edge else (width, height)
    if max(*picture.size, wide, high) > LONGEST:
        raise TaskError(
            f"the picture has {picture.width} x {picture.height} pixels, resized {wide} x {high}, "
            f"expected edges of at most {LONGEST}; cut it or make it smaller"
        )
    resized = _scaled(picture, wide, high, Resampling[steps.resample.upper()])
    left, top = (wide - width) // 2, (high - height) // 2
    return resized.crop((left, top, left + width, top + height))


def _edges(picture: Picture, shortest: int) -> tuple[int, int]:
    """Return width and height of a picture whose shorter edge becomes ``shortest``."""
    width, height = (int(shortest * edge / min(picture.size)) for edge in picture.size)
    return width, height


def _scaled(picture: Picture, width: int, height: int, resample: Resampling) -> Picture:
    """Resize a picture, its rows first: versions of Pillow differ in what they begin with."""
    return picture.resize((width, picture.height), resample).resize((width, height), resample)
