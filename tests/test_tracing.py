"""What makes lowering fast changes no byte of a program and leaves nothing behind."""

import copy
import gc
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from unittest import mock

import pytest
import torch
from executorch.exir import lowered_backend_module
from llama_data import llama_set
from torch import nn
from torch._dynamo.guards import CheckFunctionManager, GuardBuilder
from torch.export import ExportedProgram, exported_program
from torch.fx.traceback import NodeSource

from hydraopt.lowering import tracing
from hydraopt.lowering.backends import find_backend
from hydraopt.lowering.backends.xnnpack import partition
from hydraopt.lowering.bundle import export_bundle
from hydraopt.lowering.program import export_module, lower
from hydraopt.lowering.tracing import fast_tracing
from hydraopt.packing import CodedAdapters, Coder


@pytest.fixture(scope="module")
def coded() -> CodedAdapters:
    adapters = llama_set()
    return Coder.from_adapters(adapters).code(adapters.fp16_bytes // 5)


@pytest.fixture(scope="module")
def fast(base, coded, tmp_path_factory) -> tuple[bytes, int, int]:
    """A quantised program, and its number of methods and of traces for decomposition."""
    traced = []
    decompose = exported_program._decompose_exported_program

    def counted(exported, **tables):
        traced.append(exported)
        return decompose(exported, **tables)

    directory = tmp_path_factory.mktemp("fast") / "bundle"
    with mock.patch.object(exported_program, "_decompose_exported_program", counted):
        found = export_bundle(coded, str(base), directory)
    return (directory / "model.pte").read_bytes(), len(found.delegation), len(traced)


@pytest.fixture
def usual(monkeypatch) -> None:
    """Let nothing be faster."""
    monkeypatch.setattr(tracing, "FASTER", ())
    monkeypatch.setattr(partition, "speedups", lambda _: nullcontext())
    monkeypatch.setattr(partition, "decomposed", lambda exported, _: exported)


@pytest.mark.slow
def test_a_program_is_the_same_without_it(fast, usual, base, coded, tmp_path):
    export_bundle(coded, str(base), tmp_path / "usual")
    assert (tmp_path / "usual" / "model.pte").read_bytes() == fast[0]


class Products(nn.Module):
    """What a quantised program has not: layers in float32."""

    def __init__(self):
        super().__init__()
        self.layer, self.norm = nn.Linear(32, 32), nn.LayerNorm(32)

    def forward(self, x, factors):
        return self.norm(self.layer(x)).softmax(-1) + torch.bmm(x, factors["A"])


def lowered() -> bytes:
    torch.manual_seed(0)
    length = torch.export.Dim("length", min=1, max=8)
    exported = export_module(
        Products().eval(), (torch.ones(1, 4, 32),), {"x": {1: length}}, {"A": (1, 32, 32)}
    )
    return lower({"forward": exported}, find_backend()).buffer


@pytest.mark.slow
def test_float32_layers_are_the_same_without_it(request):
    fast = lowered()
    request.getfixturevalue("usual")
    assert lowered() == fast


@pytest.mark.slow
def test_every_method_is_decomposed_in_one_trace(fast):
    _, methods, traces = fast
    assert methods == traces


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
