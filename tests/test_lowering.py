"""The lowered program computes what PyTorch computes: eager = .pte = .pte after a switch."""

from dataclasses import replace

import pytest
import torch
from conftest import BASE_ID, FLOAT32, random_set, tiny_llama
from executorch.exir import EdgeCompileConfig, to_edge
from llama_data import SHAPES
from transformers import LlamaConfig, LlamaForCausalLM
from unlowered import Unlowered

from hydraopt.adapters import AdapterSet, LoraAdapter, read_adapters, write_adapter
from hydraopt.bundles import add_task
from hydraopt.errors import LoweringError
from hydraopt.evaluation import adapted
from hydraopt.factors import Factors
from hydraopt.formats.manifest import Manifest
from hydraopt.formats.swaps import Methods
from hydraopt.lowering.backends import find_backend
from hydraopt.lowering.base_model import load_base
from hydraopt.lowering.bundle import export_bundle
from hydraopt.lowering.check import Expected
from hydraopt.lowering.decoder import Decoder, restructure
from hydraopt.lowering.factors import factor_shapes, input_factors, slot_factors
from hydraopt.lowering.kinds import CausalLM, Probe
from hydraopt.lowering.program import export_forward
from hydraopt.lowering.program_check import check_program
from hydraopt.lowering.quantization import quantize, round_base
from hydraopt.lowering.settings import ExportSettings
from hydraopt.lowering.slots import insert_slots, slot_layers
from hydraopt.lowering.static import static_merged
from hydraopt.merging.hydraopt import average, hydraopt
from hydraopt.packing import Coder, code_verbatim, rounded_rows, shared_rows
from hydraopt.runtime import Session
from hydraopt.schemes import SCHEMES
from hydraopt.stored import MergedAdapters

pytestmark = pytest.mark.slow

PROMPT = [5, 17, 99, 200, 3]
XNNPACK = find_backend()


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
    factors = Manifest.read(bundle).swap.factors
    assert list(factors) == [f"{module}.{side}" for module in merged.modules for side in "AB"]
    assert factors["model.layers.0.mlp.up_proj.A"] == (1, 64, 8)
    assert factors["model.layers.0.mlp.up_proj.B"] == (1, 8, 96)


def test_the_program_unpacks_what_the_host_unpacks(bundle, merged):
    session = Session.open(bundle)
    for task in ("gamma", "alpha"):
        session.switch(task)
        wanted = code_verbatim(merged).task_factors(task)
        for found, factor in zip(session.factors, slot_factors(wanted).values(), strict=True):
            assert torch.equal(found, factor)


def quantised_eager(base, coded, task, scheme):
    """The base as transformers runs it, with the program's quantised layers in it."""
    model = load_base(str(base), BASE_ID).model
    settings = ExportSettings(scheme.name, scheme.embedding)
    rounded = round_base(model, settings)
    rows = shared_rows(coded.layout, coded.shared)
    inputs = insert_slots(model, coded.layout.shapes)
    quantize(model, settings, rounded, rows)
    inputs.update(input_factors(coded, task, static_rows=True))
    with torch.no_grad():
        return model(torch.tensor([PROMPT])).logits[0, -1]


@pytest.fixture(scope="module")
def aligned():
    """Adapters of the tiny Llama whose A's are near a common one, so that they share rows."""
    adapters = random_set(6, rank=4, shapes=tuple(SHAPES.values()), spread=0.1)
    names = dict(zip(adapters.shapes, SHAPES, strict=True))
    return AdapterSet(
        replace(x, factors={names[m]: Factors(a, b / 80) for m, (a, b) in x.factors.items()})
        for x in adapters.adapters
    )


def assert_quantised(bundle, base, name, cases):
    """The program computes what PyTorch computes with the same layers, for tasks of coded sets."""
    scheme, session = SCHEMES[name], Session.open(bundle)
    assert session.manifest.swap.static_rows
    for coded, task in cases:
        wanted = quantised_eager(base, coded, task, scheme)
        unquantised = eager_logits(tiny_llama(), coded, task, PROMPT)[-1]
        session.switch(task)
        found = session.forward(PROMPT)
        error, loss = (found - wanted).norm(), (found - unquantised).norm()
        assert error < 0.02 * wanted.norm()
        assert loss > max(0.005 * wanted.norm(), 5 * error)


def test_quantised_base_equals_eager_with_the_same_quantisation(
    quantised_bundle, adapter_dirs, base
):
    coded = code_verbatim(hydraopt(read_adapters(adapter_dirs), rank=12))
    assert_quantised(quantised_bundle, base, "8da4w", [(coded, task) for task in coded.tasks])


def test_a_program_that_computes_something_else_is_refused(quantised_bundle, adapter_dirs, base):
    coded = code_verbatim(hydraopt(read_adapters(adapter_dirs), rank=12))
    probe = Probe("a text", torch.tensor([PROMPT]))
    cases = [
        Expected(probe, task, quantised_eager(base, coded, task, SCHEMES["8da4w"])[None], {})
        for task in ("alpha", "gamma")
    ]
    check_program(quantised_bundle, cases)
    other = quantised_eager(base, coded, "beta", SCHEMES["8da4w"])[None]
    with pytest.raises(LoweringError, match="differs from PyTorch with the same weights by 1") as e:
        check_program(quantised_bundle, [cases[0], replace(cases[1], outputs=-other)])
    assert e.value.options == ("no_check",)


@pytest.mark.slow
def test_every_export_compares_its_program(merged, base, tmp_path, monkeypatch):
    def compared(bundle, expected):
        tasks = [case.task for case in expected]
        assert tasks == ["alpha", "gamma"] and (bundle / "model.pte").exists()
        raise LoweringError("not the same")

    monkeypatch.setattr("hydraopt.lowering.bundle.check_program", compared)
    with pytest.raises(LoweringError, match="not the same"):
        export_bundle(merged, str(base), tmp_path / "out", FLOAT32)
    assert not (tmp_path / "out").exists()


def test_a_task_that_comes_later_is_coded_for_the_rows_in_the_program(aligned, base, tmp_path):
    coded = Coder.from_adapters(aligned).code(int(0.15 * aligned.fp16_bytes))
    settings = ExportSettings("8da8w")
    exported = export_bundle(coded, str(base), tmp_path / "q", settings, calibration="none")
    products = [x for x in exported.delegation["forward"] if x.operator in ("linear", "bmm")]
    assert products and not any(x.not_delegated for x in products)
    write_adapter(tmp_path / "later", aligned.adapters[0].factors, aligned.base_model)
    later = add_task(tmp_path / "q", str(tmp_path / "later"), "later")
    cases = [*((coded, task) for task in coded.tasks), (later, "later")]
    assert_quantised(tmp_path / "q", base, "8da8w", cases)


@pytest.mark.parametrize(("share", "bits"), [(0.15, 4), (0.5, 8)])
def test_a_program_holds_the_rows_that_packs_were_coded_for(aligned, share, bits):
    coded = Coder.from_adapters(aligned).code(int(share * aligned.fp16_bytes))
    rows = shared_rows(coded.layout, coded.shared)
    assert rows and set(rows) <= set(SHAPES)
    assert {x.bits for x in rows.values()} == {bits}
    factors = coded.task_factors("task0")
    for name, x in rows.items():
        wanted = factors[name].a[: len(x.values)]
        assert torch.equal(x.dense(), wanted)
        found = XNNPACK.row_layer(x)(torch.eye(wanted.shape[1])).T
        assert (found - wanted).norm() < 1e-6 * wanted.norm()


def test_rows_of_more_bits_are_rounded_once():
    rows = torch.randn(3, 64, generator=torch.Generator().manual_seed(0))
    found = rounded_rows(rows)
    assert found.values.abs().amax(1).tolist() == [127] * 3
    assert ((found.dense() - rows).abs() <= 0.5001 * found.scales).all()


def test_one_method_per_task_computes_the_same(merged, methods_bundle):
    session, model = Session.open(methods_bundle), tiny_llama()
    assert isinstance(session.manifest.swap, Methods)
    for task in ("alpha", "gamma", "beta", "alpha"):
        assert_session_computes(session, model, merged, task)


def test_methods_store_the_base_once(bundle, methods_bundle):
    one, three = (Manifest.read(x).files["model.pte"].bytes for x in (bundle, methods_bundle))
    weights = sum(p.numel() * 4 for p in tiny_llama().parameters())
    assert weights < three < one + weights


@pytest.mark.parametrize("method", ["average", "soft"])
def test_every_kind_of_sharing_is_restructured(adapter_dirs, base, tmp_path, method):
    merged = shared(adapter_dirs, method, tmp_path)
    assert_session_computes(Unlowered(merged, base), tiny_llama(), merged, "beta", 1e-3)


def test_factors_that_all_tasks_share_lower(adapter_dirs, base, tmp_path):
    """Packs hold no code of a task."""
    merged = shared(adapter_dirs, "average", tmp_path)
    export_bundle(merged, str(base), tmp_path / "bundle", FLOAT32)
    assert_session_computes(Session.open(tmp_path / "bundle"), tiny_llama(), merged, "beta", 1e-3)


def shared(adapter_dirs, method, tmp_path):
    """As loaded from disk."""
    adapters = read_adapters(adapter_dirs)
    merged = average(adapters) if method == "average" else hydraopt(adapters, clusters=2, soft=True)
    merged.save(tmp_path / "merged")
    return MergedAdapters.load(tmp_path / "merged")


def test_a_slot_that_is_not_delegated_is_found(merged, base):
    model = load_base(str(base), BASE_ID).model
    layout = code_verbatim(merged).layout
    step = restructure(model, CausalLM().resolve(ExportSettings(), model))
    inputs = insert_slots(model, layout.shapes)
    exported = export_forward(Decoder(model, step, 32, inputs), factor_shapes(layout), 31)
    config = EdgeCompileConfig(_check_ir_validity=False)
    not_lowered = to_edge(exported, compile_config=config).exported_program()
    assert XNNPACK.undelegated(not_lowered, slot_layers(layout.modules)) == sorted(merged.modules)


@pytest.mark.parametrize("tied", [False, True])
def test_adapters_of_the_head_go_unless_it_is_tied_to_the_embedding(tmp_path, tied):
    config = LlamaConfig(**(tiny_llama().config.to_dict() | {"tie_word_embeddings": tied}))
    model = LlamaForCausalLM(config).eval()
    model.save_pretrained(tmp_path / "base")
    factors = Factors(0.1 * torch.randn(4, 64), 0.1 * torch.randn(config.vocab_size, 4))
    adapters = AdapterSet([LoraAdapter("task", BASE_ID, {"lm_head": factors})])
    merged = hydraopt(adapters, rank=4)
    if tied:
        with pytest.raises(LoweringError, match=r"lm_head, whose weights .* token embedding"):
            export_bundle(merged, str(tmp_path / "base"), tmp_path / "bundle", FLOAT32)
        with pytest.raises(LoweringError, match=r"lm_head, whose weights .* token embedding"):
            export_bundle(
                static_merged(merged), str(tmp_path / "base"), tmp_path / "static", FLOAT32
            )
    else:
        found = Unlowered(merged, tmp_path / "base")
        assert_session_computes(found, model, merged, "task", 1e-3)
