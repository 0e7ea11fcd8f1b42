"""Base models as transformers saves them, changed, and what is said of them when they load."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from encoders import save_base
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel

from hydraopt.errors import DataError, LoweringError
from hydraopt.lowering.base_model import load_base
from hydraopt.training import load_model

IDS = torch.tensor([[5, 17, 90, 20, 3]])
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"

Tensors = dict[str, torch.Tensor]


def saved(directory: Path, model: PreTrainedModel, change: Callable[[Tensors], object]) -> Path:
    """A model as transformers writes it, with other tensors."""
    save_base(model, directory)
    tensors = load_file(directory / WEIGHTS)
    save_file(change(tensors) or tensors, directory / WEIGHTS, {"format": "pt"})
    return directory


def configured(directory: Path, **fields: object) -> Path:
    """A directory with nothing but a configuration: what is refused was refused before weights."""
    directory.mkdir(exist_ok=True)
    (directory / "config.json").write_text(json.dumps(fields))
    return directory


def refused(directory: Path) -> str:
    """What an export and a training say, which is the same, in one line."""
    said = []
    for load, error in (
        (lambda base: load_base(base, base), LoweringError),
        (load_model, DataError),
    ):
        with pytest.raises(error) as caught:
            load(str(directory))
        said.append(str(caught.value))
    assert said[0] == said[1]
    assert "\n" not in said[0] and str(directory) in said[0]
    return said[0].replace(repr(str(directory)), "BASE")


def refused_to_export(directory: Path) -> str:
    with pytest.raises(LoweringError) as caught:
        load_base(str(directory), str(directory))
    return str(caught.value)


def logits(model: PreTrainedModel) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=IDS).logits


def assert_computes(directory: Path, model: PreTrainedModel) -> None:
    for loaded in (load_base(str(directory), str(directory)).model, load_model(str(directory))[0]):
        torch.testing.assert_close(logits(loaded), logits(model))
