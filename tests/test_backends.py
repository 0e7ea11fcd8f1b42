"""Schemes and backends are entries of registries: what is registered works everywhere."""

import pytest
from conftest import save_adapter, tiny_llama
from test_lowering import assert_session_computes
from typer.testing import CliRunner

from hydraopt.adapters import read_adapters
from hydraopt.cli.app import app
from hydraopt.errors import LoweringError
from hydraopt.lowering.backends import BACKENDS, find_backend
from hydraopt.lowering.bundle import export_bundle
from hydraopt.lowering.settings import ExportSettings
from hydraopt.merging.hydraopt import hydraopt
from hydraopt.runtime import Session
from hydraopt.schemes import EMBEDDING_BITS, SCHEMES


@pytest.mark.parametrize(
    ("option", "names"),
    [("--quantize", SCHEMES), ("--embedding", EMBEDDING_BITS), ("--backend", BACKENDS)],
)
def test_the_command_line_takes_what_is_registered(option, names):
    ended = CliRunner().invoke(app, ["export", "m", "--base", "b", "-o", "o", option, "9w"])
    assert ended.exit_code == 2
    assert all(repr(name) in ended.stderr for name in names)


def test_schemes_fit_each_other():
    for name, scheme in SCHEMES.items():
        assert scheme.name == name
        assert scheme.embedding in EMBEDDING_BITS
        assert 0 < scheme.tolerance <= scheme.limit or not scheme.quantizes


def test_unknown_backends_are_refused_by_name():
    with pytest.raises(LoweringError, match="unknown backend 'npu', expected xnnpack"):
        find_backend("npu")


@pytest.mark.slow
def test_a_backend_is_a_module_and_a_line(base, tmp_path, monkeypatch):
    monkeypatch.setitem(BACKENDS, "portable", "portable_backend")
    for seed, task in enumerate(("alpha", "beta")):
        save_adapter(tmp_path / task, seed, target_modules=["q_proj"])
    merged = hydraopt(read_adapters([tmp_path / "alpha", tmp_path / "beta"]), rank=8)
    settings = ExportSettings("none", backend="portable")
    exported = export_bundle(merged, str(base), tmp_path / "bundle", settings)
    assert not any(x.delegated for x in exported.delegation["forward"])
    session = Session.open(tmp_path / "bundle")
    assert session.manifest.backend == "portable"
    for task in ("alpha", "beta"):
        assert_session_computes(session, tiny_llama(), merged, task)
    with pytest.raises(LoweringError, match="portable operators take no 8da4w"):
        export_bundle(
            merged, str(base), tmp_path / "q", ExportSettings("8da4w", backend="portable")
        )
