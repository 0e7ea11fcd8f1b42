"""Sets of adapters: what is saved is what is loaded, counted from the bytes on disk."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import delta, random_set
from safetensors.torch import load_file, save_file
from sealed_files import reseal

from hydraopt.adapters import read_adapter
from hydraopt.errors import AdapterError, BundleError, OutputError, TaskError
from hydraopt.merging.hydraopt import average, hydraopt
from hydraopt.packing import Coder, open_stored
from hydraopt.stored import MergedAdapters, Side

VARIANTS = [
    {"clusters": 5},
    {"clusters": 2},
    {"clusters": 1},
    {"clusters": 2, "soft": True},
]


@pytest.mark.parametrize("settings", VARIANTS)
def test_save_and_load_keep_every_delta(tmp_path, settings):
    merged = hydraopt(random_set(5), **settings)
    merged.save(tmp_path / "m")
    loaded = MergedAdapters.load(tmp_path / "m")
    assert loaded.describe() == merged.describe()
    for task in merged.tasks:
        for module in merged.modules:
            torch.testing.assert_close(
                delta(loaded.factors(task, module)),
                delta(merged.factors(task, module)),
                atol=1e-2,
                rtol=1e-2,
            )


@pytest.mark.parametrize("settings", VARIANTS)
def test_storage_is_the_size_of_the_file(tmp_path, settings):
    merged = hydraopt(random_set(5), **settings)
    merged.save(tmp_path / "m")
    assert merged.stored_bytes == (tmp_path / "m" / "merged.safetensors").stat().st_size


def test_a_shared_factor_is_stored_once():
    adapters = random_set(5, rank=3, shapes=((20, 12),))
    values = {name: t.numel() for name, t in hydraopt(adapters).stored_tensors().items()}
    assert values == {"layer0.A": 3 * 12, "layer0.B": 5 * 20 * 3}
    values = {name: t.numel() for name, t in average(adapters).stored_tensors().items()}
    assert values == {"layer0.A": 3 * 12, "layer0.B": 20 * 3}


def test_small_deltas_survive_fp16(tmp_path):
    """A and the B's are balanced, so that neither underflows."""
    adapters = random_set(2)
    for adapter in adapters.adapters:
        for factors in adapter.factors.values():
            factors.b.mul_(1e-7)
    hydraopt(adapters, rank=6).save(tmp_path / "m")
    loaded = MergedAdapters.load(tmp_path / "m")
    wanted = delta(adapters.adapters[0].factors["layer0"])
    found = delta(loaded.factors("task0", "layer0"))
    assert (found - wanted).norm() < 2e-3 * wanted.norm()


def test_unmerge_gives_plain_peft_back(tmp_path):
    merged = hydraopt(random_set(5), clusters=2)
    merged.save(tmp_path / "m")
    loaded = MergedAdapters.load(tmp_path / "m")
    loaded.to_peft("task3", tmp_path / "a")
    adapter = read_adapter(tmp_path / "a")
    assert adapter.base_model == merged.base_model
    for module, factors in adapter.factors.items():
        torch.testing.assert_close(delta(factors), delta(loaded.factors("task3", module)))


def test_an_unknown_task_lists_the_known_ones(tmp_path):
    with pytest.raises(TaskError, match="no task 'x'; there are: task0, task1"):
        hydraopt(random_set(2)).to_peft("x", tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_an_existing_output_is_refused_unless_overwritten(tmp_path):
    merged = hydraopt(random_set(2))
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "mine").write_text("precious")
    with pytest.raises(OutputError, match="exists already"):
        merged.save(tmp_path / "m")
    assert (tmp_path / "m" / "mine").read_text() == "precious"
    with pytest.raises(OutputError, match="so it is not overwritten"):
        merged.save(tmp_path / "m", overwrite=True)
    (tmp_path / "m" / "mine").unlink()
    merged.save(tmp_path / "m", overwrite=True)
    merged.save(tmp_path / "m", overwrite=True)
    assert sorted(f.name for f in (tmp_path / "m").iterdir()) == [
        "README.md",
        "adapters.json",
        "hydraopt-files.json",
        "merged.safetensors",
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tasks": ["a", "../b"]}, "must match pattern"),
        ({"tasks": ["a"]}, "does not fit"),
        ({"tasks": [1, 2]}, "must be string"),
        ({"modules": []}, "modules must contain at least"),
        ({"modules": ["layer7"]}, "does not fit"),
    ],
)
def test_a_description_that_does_not_fit_the_tensors_is_refused(tmp_path, change, message):
    hydraopt(random_set(2)).save(tmp_path / "m")
    reseal(tmp_path / "m" / "adapters.json", **change)
    with pytest.raises(BundleError, match=message):
        MergedAdapters.load(tmp_path / "m")


def test_damaged_and_newer_directories_are_refused(tmp_path):
    with pytest.raises(BundleError, match=r"adapters\.json is missing"):
        MergedAdapters.load(tmp_path)
    hydraopt(random_set(2)).save(tmp_path / "m")
    tensors = tmp_path / "m" / "merged.safetensors"
    tensors.write_bytes(tensors.read_bytes()[:-10])
    with pytest.raises(BundleError, match=r"merged\.safetensors is damaged or from another"):
        MergedAdapters.load(tmp_path / "m")
    description = tmp_path / "m" / "adapters.json"
    reseal(description)
    with pytest.raises(BundleError, match=r"merged\.safetensors is missing or damaged"):
        MergedAdapters.load(tmp_path / "m")
    about = json.loads(description.read_text())
    description.write_text(json.dumps({"format_version": 5, "tasks": about["tasks"]}))
    with pytest.raises(BundleError, match="is damaged or was changed"):
        MergedAdapters.load(tmp_path / "m")
    description.write_text(json.dumps(about | {"format_version": 9}))
    with pytest.raises(BundleError, match="format version 9, expected 5; update"):
        MergedAdapters.load(tmp_path / "m")


NO_TENSORS = {
    "NaN in a stack": ("layer0.A", lambda x: x * float("nan"), "not a finite fp16"),
    "float64 stack": ("layer0.B", torch.Tensor.double, "not a finite fp16"),
    "NaN weights of a sum": ("layer0.B.of", lambda x: x * torch.nan, "not finite fp16 or integers"),
    "float64 weights": ("layer0.B.of", torch.Tensor.double, "not finite fp16 or integers"),
    "truth values": ("layer0.B.of", lambda x: x > 0, "not finite fp16 or integers"),
}


@pytest.mark.parametrize(("name", "change", "says"), NO_TENSORS.values(), ids=NO_TENSORS)
def test_tensors_that_no_method_writes_are_refused_when_they_are_read(tmp_path, name, change, says):
    merged = hydraopt(random_set(tasks=4), clusters=2)
    sides = {
        module: (a, Side(b.stack, torch.rand(4, len(b.stack))))
        for module, (a, b) in merged.modules.items()
    }
    replace(merged, modules=sides).save(tmp_path / "m")
    tensors = load_file(tmp_path / "m" / "merged.safetensors")
    tensors[name] = change(tensors[name])
    save_file(tensors, tmp_path / "m" / "merged.safetensors")
    reseal(tmp_path / "m" / "adapters.json")
    with pytest.raises(BundleError, match=says):
        MergedAdapters.load(tmp_path / "m")


def test_weights_that_exceed_fp16_are_not_unmerged(tmp_path):
    merged = average(random_set(tasks=2))
    sides = {
        module: (Side(a.stack.half() * 100, torch.full((2, 1), 60000.0)), b)
        for module, (a, b) in merged.modules.items()
    }
    replace(merged, modules=sides).save(tmp_path / "m")
    with pytest.raises(AdapterError, match="weights of layer0 exceed the range of fp16"):
        MergedAdapters.load(tmp_path / "m").to_peft("task0", tmp_path / "a")
    assert not (tmp_path / "a").exists()


def made(verb: str, path: Path) -> None:
    adapters = random_set(3)
    if verb == "compress":
        Coder.from_adapters(adapters).code(adapters.fp16_bytes).save(path)
    else:
        average(adapters).save(path)


def without(path: Path, name: str) -> None:
    (path / name).unlink()


DAMAGES = {
    "no description": lambda path: without(path, "adapters.json"),
    "half a description": lambda path: (path / "adapters.json").write_text('{"format'),
    "an older version": lambda path: (path / "adapters.json").write_text('{"format_version": 1}'),
    "another digest": lambda path: (path / "adapters.json").write_text('{"format_version": 5}'),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize(("verb", "other"), [("compress", "merge"), ("merge", "compress")])
def test_a_damaged_directory_is_written_again_by_the_command_that_wrote_it(
    tmp_path, verb, other, damage
):
    made(verb, tmp_path / "m")
    damage(tmp_path / "m")
    with pytest.raises(BundleError, match=f"`hydraopt {verb}`") as refused:
        open_stored(tmp_path / "m")
    assert f"`hydraopt {other}`" not in str(refused.value)


@pytest.mark.parametrize(
    ("verb", "name"), [("compress", "shared.pack"), ("merge", "merged.safetensors")]
)
def test_a_missing_file_of_factors_names_the_command_that_wrote_it(tmp_path, verb, name):
    made(verb, tmp_path / "m")
    without(tmp_path / "m", name)
    with pytest.raises(BundleError, match=f"{name} is missing; {verb} or copy it again"):
        open_stored(tmp_path / "m")


def test_a_directory_of_neither_kind_names_both_commands(tmp_path):
    with pytest.raises(BundleError, match="`hydraopt compress` or `hydraopt merge` wrote"):
        open_stored(tmp_path)
