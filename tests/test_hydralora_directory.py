"""Trained HydraLoRA: its directory, damage to it, eager = .pte."""

import json

import pytest
import torch
from command_line import succeeds
from conftest import BASE_ID, tiny_llama
from safetensors.torch import load_file, save_file
from sealed_files import reseal
from trained_llama import HYDRA, hydra_llama

from hydraopt.errors import BundleError, LoweringError, OutputError, TrainingError
from hydraopt.hydralora import HydraLora
from hydraopt.lowering.base_model import load_base
from hydraopt.lowering.quantization import quantize, round_base
from hydraopt.lowering.settings import ExportSettings
from hydraopt.lowering.static import static_hydralora
from hydraopt.runtime import Session


@pytest.fixture
def saved(tmp_path):
    _, layers = hydra_llama(0.3)
    HydraLora.from_layers(layers, HYDRA, BASE_ID).save(tmp_path / "hydra")
    return tmp_path / "hydra"


def test_a_directory_reads_back_what_was_trained(saved):
    model, layers = hydra_llama(0.3)
    loaded = HydraLora.load(saved)
    assert (loaded.base_model, loaded.config) == (BASE_ID, HYDRA)
    for name, layer in layers.items():
        for own, factor in zip((layer.a, layer.b, layer.route), loaded.modules[name], strict=True):
            assert torch.equal(own.half().float(), factor)
    other, empty = hydra_llama()
    loaded.fill(empty)
    ids = torch.tensor([[5, 17, 99]])
    torch.testing.assert_close(other(ids).logits, model(ids).logits, atol=5e-3, rtol=0)


def test_the_keys_are_those_of_hydralora(saved):
    tensors = load_file(saved / "hydralora.safetensors")
    module = "model.layers.0.mlp.down_proj"
    assert len(tensors) == 2 * 5
    for key, shape in {"A": (4, 96), "B0": (64, 4), "B2": (64, 4), "route": (3, 96)}.items():
        assert tensors[f"{module}.lora_{key}.weight"].shape == shape
    assert json.loads((saved / "hydralora.json").read_text())["format_version"] == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format_version": 9}, "format version 9, expected 3; update hydraopt"),
        ({"experts": 4}, "does not fit"),
        ({"experts": 1}, "does not fit"),
        ({"experts": "1"}, "experts must be integer"),
        ({"rank": 8}, "expected finite"),
        ({"modules": ["x"]}, "does not fit"),
        ({"modules": None}, "modules must be array"),
    ],
)
def test_a_damaged_description_is_refused(saved, change, message):
    reseal(saved / "hydralora.json", **change)
    with pytest.raises(BundleError, match=message):
        HydraLora.load(saved)


def test_damaged_weights_are_refused(saved):
    path = saved / "hydralora.safetensors"
    tensors, whole = load_file(path), path.read_bytes()
    for name in list(tensors)[:2]:
        save_file({k: v for k, v in tensors.items() if k != name}, path)
        with pytest.raises(BundleError, match="is damaged or from another directory"):
            HydraLora.load(saved)
        reseal(saved / "hydralora.json")
        with pytest.raises(BundleError, match="is missing or damaged"):
            HydraLora.load(saved)
        save_file(tensors | {name: tensors[name] * float("nan")}, path)
        reseal(saved / "hydralora.json")
        with pytest.raises(BundleError, match="expected finite"):
            HydraLora.load(saved)
    path.write_bytes(whole[:-7])
    reseal(saved / "hydralora.json")
    with pytest.raises(BundleError, match="is missing or damaged"):
        HydraLora.load(saved)
    path.unlink()
    with pytest.raises(BundleError, match="safetensors is missing; train or copy"):
        HydraLora.load(saved)


def test_an_existing_directory_is_kept_unless_overwritten(saved):
    loaded = HydraLora.load(saved)
    with pytest.raises(OutputError, match="exists already"):
        loaded.save(saved)
    loaded.save(saved, overwrite=True)
    broken = {name: x._replace(a=x.a * float("inf")) for name, x in loaded.modules.items()}
    with pytest.raises(TrainingError, match="is not finite in fp16"):
        HydraLora(BASE_ID, HYDRA, broken).save(saved, overwrite=True)
    HydraLora.load(saved)


@pytest.mark.slow
def test_the_router_runs_inside_the_program(saved, base, tmp_path):
    adapter = HydraLora.load(saved)
    record = json.loads(
        succeeds(
            "export", saved, "--base", base, "-o", tmp_path / "b", "--json", "--quantize", "none"
        )
    )
    assert record["tasks"] == ["hydra"]
    assert record["factor_inputs"] == record["pack_bytes"] == 0
    assert record["constant_factor_bytes"] == 4 * adapter.values
    assert record["delegation"]["_softmax"][1] == record["delegation"]["linear"][1] == 0
    model, layers = hydra_llama()
    adapter.fill(layers)
    session = Session.open(tmp_path / "b")
    session.switch("hydra")
    ids = [5, 17, 99, 200, 3, 42, 7, 255]
    with torch.no_grad():
        wanted = model(torch.tensor([ids])).logits[0]
    found = [session.forward(ids[:5])] + [session.forward([token]) for token in ids[5:]]
    torch.testing.assert_close(torch.stack(found), wanted[4:], atol=1e-4, rtol=0)

    text = session.encode("hello")
    for token in session.generate_ids(session.encode("hello"), 6):
        with torch.no_grad():
            assert token == int(model(torch.tensor([text])).logits[0, -1].argmax())
        text.append(token)


def test_the_base_is_quantised_and_the_router_is_not(saved, base):
    adapter, settings = HydraLora.load(saved), ExportSettings("8da4w", "4w")
    quantised = load_base(str(base), BASE_ID).model
    static_hydralora(adapter, "hydra").apply(quantised)
    quantize(quantised, settings, round_base(quantised, settings))
    model, layers = hydra_llama()
    adapter.fill(layers)
    for name, layer in layers.items():
        assert torch.equal(quantised.get_submodule(name).route, layer.route)
    ids = torch.tensor([[5, 17, 99]])
    with torch.no_grad():
        wanted, found = (x(ids).logits[0, -1] for x in (model, quantised))
    assert 1e-3 < (found - wanted).norm() / wanted.norm() < 0.3


def test_another_base_is_refused(saved):
    adapter = HydraLora.load(saved)
    module, factors = next(iter(adapter.modules.items()))
    wrong = factors._replace(a=factors.a[:, :32], route=factors.route[:, :32])
    fixed = static_hydralora(HydraLora(BASE_ID, HYDRA, {module: wrong}), "hydra")
    with pytest.raises(LoweringError, match=r"expected \(64, 32\) as in the adapters"):
        fixed.apply(tiny_llama())
