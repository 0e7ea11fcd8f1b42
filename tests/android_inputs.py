"""Inputs of encoders and image models for the JVM tests, and what Python makes of them."""

import json
import shutil
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from android_bundles import write_answers
from android_conversations import write_chat
from encoders import SHAPE

from hydraopt.formats.manifest import MANIFEST, Manifest
from hydraopt.formats.models import CausalLm, Encoder, Image
from hydraopt.lowering.kinds.preprocessing import SETTINGS, read_preprocessing
from hydraopt.recipes.latency import example
from hydraopt.recipes.templates import QWEN3
from hydraopt.recipes.tiny import tiny_tokenizer
from hydraopt.runtime import Session
from hydraopt.runtime.images import pixel_values

TEXTS = ("Ada met Grace", "a", "Grüße 🙂", "with a prompt, 32 tokens")
PROMPTS = ("hello", "Grüße 🙂")
MESSAGES = ("Hi", " zwei\nZeilen")
SIZES = ((16, 24), (31, 30), (9, 40), (70, 45), (1, 5))  # height and width
EXACT = {"height": SHAPE[1], "width": SHAPE[2]}
CROPPED = {"size": {"shortest_edge": 30}, "crop_size": EXACT, "do_center_crop": True}
PROCESSORS = (
    {"image_processor_type": "ViTImageProcessor", "size": EXACT, "image_std": [0.5, 0.3, 0.7]},
    {"image_processor_type": "ViTImageProcessor", "size": EXACT, "resample": 3},
    {"image_processor_type": "CLIPImageProcessor", **CROPPED},
)


def pictures() -> Iterator[np.ndarray]:
    """Noise of several sizes, uint8 ``[height, width, 3]``."""
    draw = np.random.default_rng(0)
    for height, width in SIZES:
        yield draw.integers(0, 256, (height, width, 3), dtype=np.uint8)


def write_texts_run(bundle: Path, path: Path) -> None:
    """Record what Python's session gives for texts, with every task."""
    session = Session.open(bundle)
    records = []
    for task in session.tasks:
        session.switch(task)
        for text in TEXTS:
            given = {"task": task, "text": text, "ids": session.encode(text)}
            records.append(given | _output(session.run(text)))
    path.write_text(json.dumps(records))


def write_prompted(bundle: Path, copy: Path) -> None:
    """Copy a bundle, with a prompt that comes before every text."""
    shutil.copytree(bundle, copy)
    manifest = Manifest.read(copy)
    model = replace(manifest.model, pooling=replace(manifest.model.pooling, prompt="query: "))
    replace(manifest, model=model).write(copy / MANIFEST)


def write_pictures_run(bundle: Path, path: Path) -> None:
    """The same for pictures."""
    assert Manifest.read(bundle).model.preprocessing
    session = Session.open(bundle)
    records = []
    for task in session.tasks:
        session.switch(task)
        for picture in pictures():
            records.append({"task": task} | _given(picture) | _output(session.run(picture)))
    path.write_text(json.dumps(records))


def write_pixels_run(bundle: Path, path: Path) -> None:
    """The same for pixel values."""
    session = Session.open(bundle)
    pixels = example(session.manifest)
    records = []
    for task in session.tasks:
        session.switch(task)
        given = {"task": task, "pixels": pixels.flatten().tolist()}
        records.append(given | _output(session.run(pixels)))
    path.write_text(json.dumps(records))


def write_answers_run(bundle: Path, path: Path) -> None:
    """The same for prompts and messages, as of ``write_answers``."""
    asked = [(p, False) for p in PROMPTS] + [(message, True) for message in MESSAGES]
    write_answers(bundle, [(task, *x) for task in Manifest.read(bundle).tasks for x in asked], path)


WRITERS = {CausalLm: write_answers_run, Encoder: write_texts_run, Image: write_pixels_run}


def write_recipes(bundles: Mapping[str, Path], directory: Path) -> None:
    """Record the same for bundles of recipes, which ``recipes.json`` lists by kind of model.

    Qwen 3 is there again, as exported with ``enable_thinking=False``.
    """
    quick = directory / "recipe-qwen3-quick"
    write_chat(bundles["recipe-qwen3"], quick, tiny_tokenizer(QWEN3), enable_thinking=False)
    names = defaultdict(list)
    for name, bundle in {**bundles, quick.name: quick}.items():
        model = Manifest.read(bundle).model
        WRITERS[type(model)](bundle, directory / f"{name}-runs.json")
        names[model.kind].append(name)
    (directory / "recipes.json").write_text(json.dumps([names]))


def write_pixel_values(directory: Path, path: Path) -> None:
    """Record what pictures become by the settings of transformers' own processors."""
    records = []
    for number, settings in enumerate(PROCESSORS):
        source = directory / f"{number}"
        source.mkdir(parents=True)
        (source / SETTINGS).write_text(json.dumps(settings))
        (source / "config.json").write_text('{"model_type": "vit"}')
        steps = read_preprocessing(str(source), SHAPE)
        for picture in pictures():
            values = pixel_values(picture, Image(SHAPE, steps))[0]
            records.append(asdict(steps) | _given(picture) | _output(values))
    path.write_text(json.dumps(records))


def _given(picture: np.ndarray) -> dict:
    return {"size": picture.shape[:2], "rgb": picture.flatten().tolist()}


def _output(values) -> dict:
    return {"shape": list(values.shape), "values": values.flatten().tolist()}
