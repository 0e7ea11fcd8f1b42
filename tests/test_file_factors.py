"""Adapters in files: read module by module, as they were when they were checked."""

import os
import pickle
from pathlib import Path

import pytest
import torch
from conftest import random_set
from safetensors.torch import load_file, save_file

from hydraopt.adapters import AdapterSet, read_adapter, read_adapters, write_adapter
from hydraopt.errors import AdapterError
from hydraopt.packing import Coder

WEIGHTS = "adapter_model.safetensors"


@pytest.fixture
def adapters(tmp_path) -> AdapterSet:
    made = random_set(3, rank=4, shapes=((48, 32), (32, 80)))
    for adapter in made.adapters:
        write_adapter(tmp_path / adapter.name, adapter.factors, "base")
    return read_adapters(tmp_path / task for task in made.tasks)


def file_of(adapters: AdapterSet) -> Path:
    return adapters.adapters[0].factors.version.path


def test_factors_are_those_in_the_file_with_the_scale_in_b(adapters):
    tensors = load_file(file_of(adapters))
    for module, (a, b) in adapters.adapters[0].factors.items():
        assert a.equal(tensors[f"base_model.model.{module}.lora_A.weight"].float())
        assert b.equal(tensors[f"base_model.model.{module}.lora_B.weight"].float())


def test_sizes_are_known_without_reading(adapters):
    expected = {module: x.size for module, x in adapters.adapters[0].factors.items()}
    file_of(adapters).unlink()
    assert adapters.adapters[0].sizes == expected
    assert adapters.only(next(iter(expected))).fp16_bytes < adapters.fp16_bytes


def rewritten(path: Path) -> None:
    save_file({name: x + 1 for name, x in load_file(path).items()}, path)
    os.utime(path, ns=(1, 1))


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


@pytest.mark.parametrize("change", [rewritten, cut, Path.unlink])
def test_a_file_that_changes_while_it_is_in_use_is_refused_by_name(adapters, change):
    change(file_of(adapters))
    with pytest.raises(AdapterError, match="changed or removed while it was in use") as error:
        Coder.from_adapters(adapters)
    assert str(file_of(adapters)) in str(error.value)


def test_other_processes_need_only_the_files(adapters):
    sent = pickle.dumps(adapters)
    assert len(sent) < adapters.fp16_bytes
    for own, other in zip(adapters.adapters, pickle.loads(sent).adapters, strict=True):
        assert all(own.factors[m].b.equal(other.factors[m].b) for m in own.factors)


def test_a_relative_path_stays_valid_in_another_directory(adapters, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    adapter = read_adapter(adapters.tasks[0])
    monkeypatch.chdir("/")
    assert all(torch.isfinite(b).all() for _, b in adapter.factors.values())
