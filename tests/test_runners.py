"""ExecuTorch's own LLM runner on our programs: metadata, and .pte + .ptd pairs of tasks."""

import shutil

import pytest
import torch
from executorch.extension.llm.runner import GenerationConfig, TextLLMRunner
from executorch.runtime import Runtime
from exports import FEW_TASKS
from unlowered import Unlowered

from hydraopt.bundles import add_task
from hydraopt.errors import BundleError, ProfilingError
from hydraopt.formats.manifest import Manifest
from hydraopt.lowering.bundle import export_bundle
from hydraopt.lowering.settings import ExportSettings
from hydraopt.profiling.host import Host
from hydraopt.profiling.measure import ProfileRequest, profile
from hydraopt.runtime import Session, verify
from hydraopt.zoo import ADAPTERS, BASE

pytestmark = pytest.mark.slow

PROMPTS = dict(
    zip(FEW_TASKS, ("date 2026-11-22=", "words 742=", "unit 12.5 kilometer="), strict=True)
)


def constants(path):
    program = Runtime.get().load_program(str(path))
    return {
        name: program.load_method(name).execute([])
        for name in program.method_names
        if name not in ("forward", "unpack")
    }


def test_a_program_tells_what_stock_runners_ask(bundle):
    model = Manifest.read(bundle).causal_lm
    assert constants(bundle / "model.pte") == {
        "get_max_seq_len": [model.prefill_length],
        "get_max_context_len": [model.max_length],
        "get_vocab_size": [model.vocabulary],
        "get_eos_ids": list(model.eos_ids),
        "use_kv_cache": [True],
        "use_sdpa_with_kv_cache": [True],
        "enable_dynamic_shape": [True],
    }


def test_data_files_compute_what_inputs_compute(few_coded, data_bundle):
    session, other = Session.open(data_bundle), Unlowered(few_coded, BASE)
    for task in [*PROMPTS, *reversed(PROMPTS)]:
        session.switch(task)
        other.switch(task)
        ids = session.encode(PROMPTS[task])
        torch.testing.assert_close(session.forward(ids), other.forward(ids), atol=1e-4, rtol=1e-4)


def test_data_files_of_a_quantised_base(verbatim, quantised_bundle, base, tmp_path):
    settings, data = ExportSettings(quantize="8da4w"), tmp_path / "data"
    options = {"check": False, "calibration": "none"}
    export_bundle(verbatim, str(base), data, settings, swap="data", **options)
    session, other = Session.open(data), Session.open(quantised_bundle)
    for task in session.tasks:
        session.switch(task)
        other.switch(task)
        ids = session.encode("a prompt")
        found, wanted = session.forward(ids), other.forward(ids)
        assert (found - wanted).norm() < 0.1 * wanted.norm()


@pytest.mark.parametrize("task", PROMPTS)
def test_executorchs_runner_gives_the_sessions_text(data_bundle, task):
    session = Session.open(data_bundle)
    session.switch(task)
    wanted = session.generate(PROMPTS[task], 24)
    data = str(data_bundle / session.manifest.packs[task].file)
    runner = TextLLMRunner(
        str(data_bundle / "model.pte"), str(data_bundle / "tokenizer.json"), data
    )
    pieces = []
    runner.generate(
        PROMPTS[task],
        GenerationConfig(echo=False, max_new_tokens=24, temperature=0),
        pieces.append,
    )
    assert "".join(pieces).removesuffix("<eos>") == wanted
    assert wanted


def test_what_needs_packs_says_so(data_bundle):
    assert verify(data_bundle)["tasks"] == len(PROMPTS)
    with pytest.raises(BundleError, match="takes no further one"):
        add_task(data_bundle, str(ADAPTERS / "date-fr"), "date-fr")
    with pytest.raises((BundleError, ProfilingError), match="whose factors are inputs"):
        profile(ProfileRequest(data_bundle, [1], 1), Host())


def test_a_damaged_data_file_is_found_before_it_is_loaded(data_bundle, tmp_path):
    bundle = shutil.copytree(data_bundle, tmp_path / "bundle")
    path = bundle / Manifest.read(bundle).packs["words-en"].file
    session = Session.open(bundle)
    session.switch("date-de")
    wanted = session.forward([48, 49])
    session.reset()
    session.forward([48])
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(BundleError, match=r"words-en\.ptd is damaged"):
        session.switch("words-en")
    assert (session.task, session.position) == ("date-de", 1)
    torch.testing.assert_close(session.forward([49]), wanted, atol=1e-4, rtol=0)
    with pytest.raises(BundleError, match=r"words-en\.ptd is damaged"):
        Session.open(bundle)
