"""What the merging methods return lowers and runs, whatever its tasks share."""

import pytest
from conftest import tiny_llama
from test_lowering import assert_session_computes

from hydraopt.adapters import read_adapters
from hydraopt.lowering.bundle import export_bundle
from hydraopt.merging import MergedAdapters, merge_with
from hydraopt.runtime import Session


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("ties", {}),  # one A and one B: constants
        ("jd-full", {}),  # a core per task
        ("kmerge", {"clusters": 2}),  # both shared by the tasks of a slot
        ("1bit", {"modules": "q_proj|up_proj"}),  # private and shared modules
    ],
)
def test_a_merge_computes_the_same_in_the_program(adapter_dirs, base, tmp_path, method, settings):
    merge_with(method, read_adapters(adapter_dirs), **settings).save(tmp_path / "merged")
    merged = MergedAdapters.load(tmp_path / "merged")
    export_bundle(merged, str(base), tmp_path / "bundle")
    session = Session.open(tmp_path / "bundle")
    for task in ("beta", "alpha"):
        assert_session_computes(session, tiny_llama(), merged, task, 1e-3)
