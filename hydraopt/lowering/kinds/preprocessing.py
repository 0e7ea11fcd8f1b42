"""Read how a base's image preprocessor makes pixel values of pictures, and try it."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
from PIL.Image import Resampling, fromarray
from transformers import AutoImageProcessor

from ...formats.models import LARGEST_EDGE, Image, Preprocessing
from ...hub import in_reach
from ...reading import UnreadableError, file_json, shortened
from ...runtime.images import pixel_values

logger = logging.getLogger(__name__)

SETTINGS = "preprocessor_config.json"
RESAMPLES = {2: "bilinear", 3: "bicubic"}  # Pillow's numbers
COARSE = (5, 7)  # of a picture's detail, as in photographs
TRIED = ((37, 53), (64, 29))  # height and width of pictures
LEVELS = 2.01  # of 255, as Pillow may begin with the columns


def read_preprocessing(source: str, shape: tuple[int, int, int]) -> Preprocessing | None:
    """Read the settings of a base's image preprocessor.

    They are kept if pixel values that follow from them are those of transformers' own processor,
    within two levels of 255, on two random pictures; otherwise a warning says why not.

    Args:
        source: directory or hub id of the base model.
        shape: channels, height and width of the model's images.
    """
    try:
        processor = _processor(source)
        found = _settings(processor, shape)
        _compare(processor, shape, found)
    except (UnreadableError, OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        logger.warning(
            "no image preprocessor of a supported form in %s (%s): the bundle takes pixel values "
            "only, no pictures",
            source,
            shortened(str(error).partition("\n")[0]),
        )
        return None
    return found


def _processor(source: str) -> Any:
    """Load transformers' own, on Pillow. Raises ``UnreadableError`` or as transformers."""
    if Path(source).is_dir():
        file_json(Path(source) / SETTINGS)  # its limits
        return AutoImageProcessor.from_pretrained(source, backend="pil", trust_remote_code=False)
    with in_reach(source):
        return AutoImageProcessor.from_pretrained(source, backend="pil", trust_remote_code=False)


def _settings(processor: Any, shape: tuple[int, int, int]) -> Preprocessing:
    """Return a processor's settings. Raises ``UnreadableError`` if they are of another form."""
    channels, height, width = shape
    size, crops = dict(processor.size or {}), bool(getattr(processor, "do_center_crop", False))
    edge = size.get("shortest_edge") if crops else None
    given = dict(processor.crop_size or {}) if crops else size
    resample = RESAMPLES.get(int(processor.resample if processor.resample is not None else 2))
    checks = {
        f"{channels} channels, expected 3": channels == 3,
        "do_resize is off, expected on": bool(processor.do_resize),
        f"size is {size}, expected {height} x {width}, or shortest_edge and a crop of that": (
            (given.get("height"), given.get("width")) == (height, width)
            and (edge is None) == (not crops)
            and max(height, width) <= (edge or LARGEST_EDGE) <= LARGEST_EDGE
        ),
        f"resample is {processor.resample}, expected 2 or 3 (bilinear, bicubic)": bool(resample),
    }
    for what, holds in checks.items():
        if not holds:
            raise UnreadableError(what)
    normalizes = bool(processor.do_normalize)
    return Preprocessing(
        resample=str(resample),
        factor=float(processor.rescale_factor) if processor.do_rescale else 1.0,
        mean=_per_channel(processor.image_mean) if normalizes else (0.0, 0.0, 0.0),
        std=_per_channel(processor.image_std) if normalizes else (1.0, 1.0, 1.0),
        shortest_edge=edge,
    )


def _per_channel(values: Any) -> tuple[float, float, float]:
    red, green, blue = values if isinstance(values, list | tuple) else [values] * 3
    return float(red), float(green), float(blue)


def _compare(processor: Any, shape: tuple[int, int, int], steps: Preprocessing) -> None:
    """Raise ``UnreadableError`` unless pictures become what the processor makes of them."""
    most = LEVELS * abs(steps.factor / np.array(steps.std))[:, None, None]
    draw = np.random.default_rng(0)
    for height, width in TRIED:
        coarse = fromarray(draw.integers(0, 256, (*COARSE, 3), dtype=np.uint8))
        picture = coarse.resize((width, height), Resampling.BICUBIC)
        expected = processor(picture, return_tensors="np")["pixel_values"]
        found = pixel_values(picture, Image(shape, steps)).numpy()
        if expected.shape != found.shape or not (abs(found - expected) <= most).all():
            raise UnreadableError(f"{type(processor).__name__} has steps of its own")
