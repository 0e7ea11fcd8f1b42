"""The lowered program computes what PyTorch computes: eager = .pte = .pte after a switch."""

import pytest
import torch
from conftest import BASE_ID, tiny_llama
from executorch.exir import to_edge
from transformers import LlamaConfig, LlamaForCausalLM

from hydraopt.adapters import read_adapters
from hydraopt.errors import LoweringError
from hydraopt.evaluation import adapted
from hydraopt.lowering.base_model import load_base, quantize_base
from hydraopt.lowering.bundle import export_bundle
from hydraopt.lowering.decoder import Decoder
from hydraopt.lowering.factors import factor_shapes, module_shapes, slot_factors
from hydraopt.lowering.manifest import Manifest
from hydraopt.lowering.program import export_forward, undelegated_slots
from hydraopt.lowering.slots import insert_slots
from hydraopt.merging import MergedAdapters, average, hydraopt
from hydraopt.packing import code_verbatim
from hydraopt.runtime import Session

pytestmark = pytest.mark.slow

PROMPT = [5, 17, 99, 200, 3]


def eager_logits(model, merged, task, ids):
    """Logits after every position, the adapter added to the weights."""
    with adapted(model, merged.task_factors(task)), torch.no_grad():
        return model(torch.tensor([ids])).logits[0]


def assert_session_computes(session, model, merged, task, atol=1e-4):
    """Prefill and then decode token by token."""
    session.switch(task)
    ids = [*PROMPT, 42, 7, 255]
    wanted = eager_logits(model, merged, task, ids)
    found = [session.forward(PROMPT)] + [session.forward([token]) for token in ids[len(PROMPT) :]]
    torch.testing.assert_close(torch.stack(found), wanted[len(PROMPT) - 1 :], atol=atol, rtol=0)


def test_program_equals_eager_for_every_task_in_any_order(bundle, merged):
    session, model = Session.open(bundle), tiny_llama()
    for task in ("alpha", "gamma", "beta", "alpha"):
        assert_session_computes(session, model, merged, task)


def test_adapters_change_the_output(bundle):
    session = Session.open(bundle)
    logits = []
    for task in session.tasks:
        session.switch(task)
        logits.append(session.forward(PROMPT))
    assert (logits[0] - logits[1]).abs().max() > 1e-2
    assert (logits[1] - logits[2]).abs().max() > 1e-2


def test_all_factors_are_inputs_in_the_layouts_order(bundle, merged):
    factors = Manifest.read(bundle).factors
    assert list(factors) == [f"{module}.{side}" for module in merged.modules for side in "AB"]
    assert factors["model.layers.0.mlp.up_proj.A"] == (1, 8, 64)
    assert factors["model.layers.0.mlp.up_proj.B"] == (1, 8, 96)


def test_the_program_decodes_what_the_host_decodes(bundle, merged):
    session = Session.open(bundle)
    for task in ("gamma", "alpha"):
        session.switch(task)
        wanted = code_verbatim(merged).task_factors(task)
        for found, factor in zip(session.factors, slot_factors(wanted).values(), strict=True):
            assert torch.equal(found, factor)


def test_quantised_base_equals_eager_with_the_same_quantisation(merged, base, tmp_path):
    export_bundle(merged, str(base), tmp_path / "q", quantize="8da4w")
    session = Session.open(tmp_path / "q")
    for task in session.tasks:
        model = load_base(str(base), BASE_ID).model
        coded = code_verbatim(merged)
        inputs = insert_slots(model, module_shapes(coded.layout))
        inputs.update(slot_factors(coded.task_factors(task)))
        quantize_base(model, "8da4w")
        with torch.no_grad():
            wanted = model(torch.tensor([PROMPT])).logits[0, -1]
            unquantised = eager_logits(tiny_llama(), merged, task, PROMPT)[-1]
        session.switch(task)
        found = session.forward(PROMPT)
        assert (found - wanted).norm() < 0.02 * wanted.norm()
        assert (found - unquantised).norm() > 0.02 * wanted.norm()


@pytest.fixture(scope="module")
def methods_bundle(merged, base, tmp_path_factory):
    directory = tmp_path_factory.mktemp("methods") / "bundle"
    export_bundle(merged, str(base), directory, swap="methods")
    return directory


def test_one_method_per_task_computes_the_same(merged, methods_bundle):
    session, model = Session.open(methods_bundle), tiny_llama()
    assert session.manifest.factors == {}
    for task in ("alpha", "gamma", "beta", "alpha"):
        assert_session_computes(session, model, merged, task)


def test_methods_store_the_base_once(bundle, methods_bundle):
    one, three = (Manifest.read(x).files["model.pte"].bytes for x in (bundle, methods_bundle))
    weights = sum(p.numel() * 4 for p in tiny_llama().parameters())
    assert weights < three < one + weights


@pytest.mark.parametrize("method", ["average", "soft"])
def test_every_kind_of_sharing_lowers(adapter_dirs, base, tmp_path, method):
    adapters = read_adapters(adapter_dirs)
    merged = average(adapters) if method == "average" else hydraopt(adapters, clusters=2, soft=True)
    merged.save(tmp_path / "merged")
    merged = MergedAdapters.load(tmp_path / "merged")
    export_bundle(merged, str(base), tmp_path / "bundle")
    assert_session_computes(Session.open(tmp_path / "bundle"), tiny_llama(), merged, "beta", 1e-3)


def test_a_slot_that_is_not_delegated_is_found(merged, base):
    model = load_base(str(base), BASE_ID).model
    layout = code_verbatim(merged).layout
    inputs = insert_slots(model, module_shapes(layout))
    exported = export_forward(Decoder(model, 32, inputs), factor_shapes(layout), 31)
    not_lowered = to_edge(exported).exported_program()
    assert set(undelegated_slots(not_lowered)) == set(merged.modules)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden_size": 32}, r"down_proj .* is \(32, 96\) \(out, in\), expected \(64, 96\)"),
        ({"num_hidden_layers": 0}, r"no module model\.layers\.0"),
    ],
)
def test_adapters_of_another_base_are_refused(merged, tmp_path, change, message):
    config = LlamaConfig(**(tiny_llama().config.to_dict() | change | {"head_dim": None}))
    LlamaForCausalLM(config).save_pretrained(tmp_path / "other")
    with pytest.raises(LoweringError, match=message):
        export_bundle(merged, str(tmp_path / "other"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_wrong_requests_are_refused_and_leave_nothing(merged, base, tmp_path):
    for arguments, message in [
        ({"max_length": 1000}, "expected 8 to 32"),
        ({"max_length": 4}, "expected 8 to 32"),
        ({"swap": "magic"}, "expected inputs or methods"),
        ({"quantize": "3w"}, "expected none or 8da4w"),
    ]:
        with pytest.raises(LoweringError, match=message):
            export_bundle(merged, str(base), tmp_path / "out", **arguments)
    with pytest.raises(LoweringError, match="neither a directory nor 'tests/tiny-llama'"):
        export_bundle(merged, "other/base", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(LoweringError, match="cannot load base model"):
        export_bundle(merged, str(tmp_path / "empty"), tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]
