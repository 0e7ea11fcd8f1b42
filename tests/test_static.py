"""One model for all tasks: baked into the weights, a program without factors."""

import json
import shutil

import pytest
import torch
from command_line import fails, succeeds
from conftest import tiny_llama
from test_lowering import assert_session_computes

from hydraopt.adapters import read_adapters
from hydraopt.bundles import add_task, remove_task
from hydraopt.errors import BundleError, LoweringError
from hydraopt.formats.manifest import Manifest
from hydraopt.formats.swaps import Static
from hydraopt.lowering.base_model import load_base
from hydraopt.lowering.quantization import quantize, round_base
from hydraopt.lowering.settings import ExportSettings
from hydraopt.lowering.static import add_to_weights, static_merged
from hydraopt.merging import merge_with
from hydraopt.merging.hydraopt import hydraopt
from hydraopt.merging.private import private
from hydraopt.packing import Coder
from hydraopt.runtime import Session, verify

PROMPT = [5, 17, 99, 200, 3]


def test_baking_adds_the_delta_to_the_weights(merged):
    model, wanted = tiny_llama(), tiny_llama()
    factors = merged.task_factors("beta")
    add_to_weights(model, factors)
    for name, parameter in wanted.named_parameters():
        module = name.removesuffix(".weight")
        update = factors[module].b @ factors[module].a if module in factors else 0
        torch.testing.assert_close(model.get_parameter(name), parameter + update)


@pytest.mark.parametrize("method", ["average", "ties", "task-arithmetic", "knots", "iso-c"])
def test_methods_that_give_one_model_can_be_baked(adapter_dirs, method):
    merged = merge_with(method, read_adapters(adapter_dirs), rank=4)
    assert static_merged(merged).tasks == ("alpha", "beta", "gamma")


def test_tasks_that_differ_cannot_be_baked(adapter_dirs):
    adapters = read_adapters(adapter_dirs)
    coded = Coder.from_adapters(adapters).code(adapters.fp16_bytes // 3)
    for merged in (private(adapters), hydraopt(adapters, clusters=2), coded):
        with pytest.raises(LoweringError, match=r"the 3 tasks of this .* result differ, expected"):
            static_merged(merged)


def test_a_single_task_can_be_baked_however_it_was_merged(adapter_dirs):
    adapters = read_adapters(adapter_dirs[:1])
    coded = Coder.from_adapters(adapters).code(adapters.fp16_bytes // 3)
    for merged in (private(adapters), merge_with("jd-full", adapters), coded):
        assert static_merged(merged).tasks == ("alpha",)


@pytest.mark.slow
def test_a_static_program_equals_eager_and_has_no_factors(static_bundle, averaged):
    manifest = Manifest.read(static_bundle)
    assert manifest.swap == Static(("alpha", "beta", "gamma"), constant_bytes=0)
    assert set(manifest.files) == {"model.pte", "tokenizer.json"}
    session = Session.open(static_bundle)
    for task in ("gamma", "alpha"):
        assert_session_computes(session, tiny_llama(), averaged, task)
        assert session.factors == ()


@pytest.mark.slow
def test_a_static_program_is_as_large_as_the_base(static_bundle, bundle):
    size = Manifest.read(static_bundle).files["model.pte"].bytes
    assert size < Manifest.read(bundle).files["model.pte"].bytes
    assert size < 1.2 * sum(4 * p.numel() for p in tiny_llama().parameters())


@pytest.fixture(scope="module")
def quantised(averaged, base, tmp_path_factory):
    """A bundle, and what the command that exported it tells."""
    root = tmp_path_factory.mktemp("quantised")
    averaged.save(root / "m")
    arguments = ("export", root / "m", "--base", base, "-o", root / "b", "--static")
    arguments += ("--calibration", "none")
    return root / "b", json.loads(succeeds(*arguments, "--json"))


@pytest.mark.slow
def test_the_sum_is_quantised_not_the_base(averaged, base, quantised):
    model = load_base(str(base), averaged.base_model).model
    add_to_weights(model, averaged.task_factors("beta"))
    settings = ExportSettings("8da4w", "4w")
    quantize(model, settings, round_base(model, settings))
    with torch.no_grad():
        wanted = model(torch.tensor([PROMPT])).logits[0, -1]
    session = Session.open(quantised[0])
    session.switch("beta")
    assert (session.forward(PROMPT) - wanted).norm() < 0.02 * wanted.norm()


@pytest.mark.slow
def test_every_command_takes_a_static_bundle(quantised):
    bundle, record = quantised
    assert record["swap"] == "static"
    assert record["share_of_fp16"] == record["factor_inputs"] == record["pack_bytes"] == 0
    assert "bmm" not in record["delegation"]  # no slots
    assert json.loads(succeeds("info", bundle, "--json"))["total_bytes"] == record["total_bytes"]
    assert json.loads(succeeds("verify", bundle, "--json"))["tasks"] == 3
    assert succeeds("run", bundle, "--task", "beta", "--ids", "5,17", "--max-new-tokens", 2)


def test_one_model_for_all_tasks_has_nothing_to_swap(averaged, base, tmp_path):
    averaged.save(tmp_path / "m")
    arguments = ("export", tmp_path / "m", "--base", base, "-o", tmp_path / "b", "--static")
    said = fails(*arguments, "--swap", "methods", code=2)
    assert "one model for all tasks has nothing to swap" in said


@pytest.mark.slow
def test_a_static_bundle_neither_grows_nor_shrinks(static_bundle, adapter_dirs, tmp_path):
    copy = shutil.copytree(static_bundle, tmp_path / "copy")
    with pytest.raises(BundleError, match="takes no further one"):
        add_task(copy, str(adapter_dirs[0]), "later")
    with pytest.raises(BundleError, match="export it again without 'beta'"):
        remove_task(copy, "beta")
    assert verify(copy)["tasks"] == 3


@pytest.mark.slow
def test_a_static_bundle_is_profiled_on_this_machine(compiler, static_bundle, tmp_path):
    arguments = ("profile", static_bundle, "--serial", "host", "--rounds", 1, "--threads", 1)
    found = json.loads(succeeds(*arguments, "-o", tmp_path / "report", "--json"))
    assert found["outputs"]["bundle"]["largest_difference"] < 1e-3
    assert {row["variant"] for row in found["measurements"]} == {"bundle"}
    assert {"decode_ms", "prefill_ms"} <= {row["metric"] for row in found["measurements"]}
    assert found["sizes"]["bundle"]["packs"] == 0
    assert "profile it without a base model (--base)" in fails(
        *arguments, "--base", tmp_path, code=2
    )
