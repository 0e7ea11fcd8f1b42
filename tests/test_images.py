"""Pictures become what the base's own image preprocessor makes of them."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from encoders import PREPROCESSOR, SHAPE
from PIL import ExifTags
from PIL import Image as Pillow
from transformers import AutoImageProcessor

from hydraopt.errors import TaskError
from hydraopt.formats.models import Image
from hydraopt.lowering.kinds.preprocessing import SETTINGS, read_preprocessing
from hydraopt.runtime.images import pixel_values
from hydraopt.runtime.inputs import inputs_of

HEIGHT, WIDTH = SHAPE[1:]
EXACT = {"height": HEIGHT, "width": WIDTH}
CROPPED = {"size": {"shortest_edge": 30}, "crop_size": EXACT, "do_center_crop": True}
READ = {
    "bilinear": {"image_processor_type": "ViTImageProcessor", "size": EXACT},
    "bicubic": PREPROCESSOR,
    "an older version's": {"feature_extractor_type": "ViTFeatureExtractor", "size": EXACT},
    "cropped": {"image_processor_type": "CLIPImageProcessor", **CROPPED},
    "cropped, bilinear": {"image_processor_type": "BitImageProcessor", "resample": 2, **CROPPED},
    "not normalised": {**PREPROCESSOR, "do_normalize": False, "do_rescale": False},
}
REFUSED = {
    "another size": ({**PREPROCESSOR, "size": {"height": 9, "width": 9}}, "expected 16 x 24"),
    "a huge size": ({**PREPROCESSOR, "size": {"shortest_edge": 10**9}}, "expected 16 x 24"),
    "lanczos": ({**PREPROCESSOR, "resample": 1}, "resample is 1, expected 2 or 3"),
    "not resized": ({**PREPROCESSOR, "do_resize": False}, "do_resize is off"),
    "a mean that is none": ({**PREPROCESSOR, "image_mean": "x"}, "could not convert"),
    "steps of its own": (
        {"image_processor_type": "LevitImageProcessor", "resample": 3, **CROPPED},
        "LevitImageProcessorPil has steps of its own",
    ),
    "code": ({"auto_map": {"AutoImageProcessor": "evil.Processor"}}, "expected 16 x 24"),
    "a list": ([1], "'list' object"),
}


def directory(root: Path, settings) -> str:
    (root / SETTINGS).write_text(json.dumps(settings))
    (root / "config.json").write_text('{"model_type": "vit"}')
    return str(root)


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Smooth, as photographs are."""
    noise = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    return np.asarray(Pillow.fromarray(noise).resize((width, height), Pillow.Resampling.BICUBIC))


@pytest.mark.parametrize("name", READ)
def test_pixel_values_are_those_of_transformers(name, tmp_path):
    """Within two levels of 255: Pillow may begin with the columns, and rounds in between."""
    source = directory(tmp_path, READ[name])
    processor = AutoImageProcessor.from_pretrained(source, backend="pil", trust_remote_code=False)
    steps = read_preprocessing(source, SHAPE)
    most = 2.01 * steps.factor / torch.tensor(steps.std)[:, None, None]
    for height, width in ((HEIGHT, WIDTH), (31, 30), (30, 90), (200, 45), (1, 1), (480, 640)):
        given = picture(height, width, height)
        expected = processor(Pillow.fromarray(given), return_tensors="pt")["pixel_values"].float()
        for form in (given, torch.tensor(given), Pillow.fromarray(given)):
            found = pixel_values(form, Image(SHAPE, steps))
            assert torch.equal(inputs_of(form, Image(SHAPE, steps))[0], found)
            assert ((found - expected).abs() <= most).all()


@pytest.mark.parametrize("name", REFUSED)
def test_other_preprocessors_are_left_out_with_a_warning(name, tmp_path, warnings):
    settings, message = REFUSED[name]
    assert read_preprocessing(directory(tmp_path, settings), SHAPE) is None
    assert len(warnings) == 1
    assert message in warnings[0]
    assert "the bundle takes pixel values only" in warnings[0]


def test_a_base_without_one_takes_pixel_values_only(tmp_path, warnings):
    assert read_preprocessing(str(tmp_path), SHAPE) is None
    assert "the bundle takes pixel values only" in warnings[0]
    with pytest.raises(TaskError, match="does not say how pictures become pixel values"):
        pixel_values(picture(9, 9), Image(SHAPE))


def turned() -> Pillow.Image:
    found = Pillow.fromarray(picture(9, 9))
    found.getexif()[ExifTags.Base.Orientation] = 6
    return found


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (Pillow.new("RGBA", (9, 9)), "the picture is RGBA, expected upright RGB"),
        (Pillow.new("L", (9, 9)), "the picture is L, expected"),
        (Pillow.new("CMYK", (9, 9)), "the picture is CMYK, expected"),
        (turned(), "the picture is RGB, turned by its EXIF orientation, expected upright"),
        (np.zeros((9, 9), np.uint8), r"the picture is uint8 \[9, 9\], expected"),
        (np.zeros((3, 9, 9), np.uint8), r"uint8 \[3, 9, 9\], expected .* \[height, width, 3\]"),
        (np.zeros((0, 9, 3), np.uint8), r"uint8 \[0, 9, 3\], expected"),
        (np.zeros((1, 9000, 3), np.uint8), "has 9000 x 1 pixels, resized 270000 x 30, expected"),
        (np.zeros((20000, 20, 3), np.uint8), r"has 20 x 20000 pixels, .* edges of at most 16384"),
    ],
)
def test_other_pictures_are_refused_by_what_they_are(given, message, tmp_path):
    steps = read_preprocessing(directory(tmp_path, READ["cropped"]), SHAPE)
    with pytest.raises(TaskError, match=message):
        pixel_values(given, Image(SHAPE, steps))
