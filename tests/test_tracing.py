"""What makes lowering fast changes no byte of a program and leaves nothing behind."""

import copy
import gc
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext

import pytest
from executorch.exir import lowered_backend_module
from llama_data import llama_set
from torch._dynamo.guards import CheckFunctionManager, GuardBuilder
from torch.export import ExportedProgram, exported_program
from torch.fx.traceback import NodeSource

from hydraopt.lowering import tracing
from hydraopt.lowering.backends.xnnpack import partition
from hydraopt.lowering.bundle import export_bundle
from hydraopt.lowering.settings import ExportSettings
from hydraopt.lowering.tracing import fast_tracing
from hydraopt.packing import CodedAdapters, Coder


@pytest.fixture(scope="module")
def coded() -> CodedAdapters:
    adapters = llama_set()
    return Coder.from_adapters(adapters).code(adapters.fp16_bytes // 5)


@pytest.mark.slow
@pytest.mark.parametrize("quantize", ["none", "8da4w"])
def test_a_program_is_the_same_without_it(base, coded, quantize, tmp_path, monkeypatch):
    def exported(name: str) -> bytes:
        export_bundle(coded, str(base), tmp_path / name, ExportSettings(quantize=quantize))
        return (tmp_path / name / "model.pte").read_bytes()

    fast = exported("fast")
    monkeypatch.setattr(tracing, "FASTER", ())
    monkeypatch.setattr(partition, "speedups", lambda _: nullcontext())
    monkeypatch.setattr(partition, "decomposed", lambda exported, _: exported)
    assert exported("usual") == fast


@pytest.mark.slow
def test_every_method_is_decomposed_in_one_trace(base, coded, tmp_path, monkeypatch):
    traced = []
    decompose = exported_program._decompose_exported_program

    def counted(exported, **tables):
        traced.append(exported)
        return decompose(exported, **tables)

    monkeypatch.setattr(exported_program, "_decompose_exported_program", counted)
    found = export_bundle(coded, str(base), tmp_path / "bundle", ExportSettings(quantize="8da4w"))
    assert len(traced) == len(found.delegation)


def test_afterwards_torch_is_as_before():
    def state():
        return (
            ExportedProgram.run_decompositions,
            CheckFunctionManager.build_guards,
            GuardBuilder.add_python_lambda_leaf_guard_to_root,
            lowered_backend_module.legalize_graph,
            hasattr(NodeSource, "__deepcopy__"),
            gc.isenabled(),
        )

    before = state()
    with pytest.raises(RuntimeError, match="interrupted"), fast_tracing():
        assert state() != before
        raise RuntimeError("interrupted")
    assert state() == before


def test_other_threads_trace_as_ever_and_export_one_after_the_other():
    record, started, ended = NodeSource(None, "traced"), threading.Event(), threading.Event()

    def export() -> None:
        started.set()
        with tracing.tracing():
            ended.set()

    with fast_tracing(), ThreadPoolExecutor(1) as other:
        assert copy.deepcopy(record) is record
        copied = other.submit(copy.deepcopy, record).result()
        assert copied is not record and copied == record
    with tracing.tracing():
        thread = threading.Thread(target=export)
        thread.start()
        started.wait()
        assert not ended.wait(0.5)
    thread.join()
    assert ended.is_set()
