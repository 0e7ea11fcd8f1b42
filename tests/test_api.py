"""``import hydraopt``: the public names, and what they cost to import."""

import subprocess
import sys

import pytest
import torch
from conftest import FLOAT32, tiny_llama

import hydraopt
from hydraopt.evaluation import adapted


def test_every_public_name_is_there_and_documented():
    for name in hydraopt.__all__:
        assert getattr(hydraopt, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'kompress'"):
        _ = hydraopt.kompress


def test_no_public_name_hides_a_module():
    for name in hydraopt.__all__:
        code = f"import importlib.util as u; print(u.find_spec('hydraopt.{name}'))"
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == "None"


def test_importing_it_imports_nothing_heavy():
    code = "import sys, hydraopt, hydraopt.formats.manifest; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "transformers", "executorch", "sklearn"} & {*done.stdout.split()}


@pytest.mark.slow
def test_adapters_to_answers(adapter_dirs, base, tmp_path):
    adapters = hydraopt.read_adapters(adapter_dirs)
    for merged in (hydraopt.compress(adapters, "50%"), hydraopt.merge("hydraopt", adapters)):
        hydraopt.export(merged, str(base), tmp_path / "bundle", FLOAT32, overwrite=True)
        session = hydraopt.Session.open(tmp_path / "bundle")
        session.switch("beta")
        model = tiny_llama()
        with adapted(model, merged.task_factors("beta")), torch.no_grad():
            wanted = model(torch.tensor([[1, 2, 3]])).logits[0, -1]
        # a bundle keeps merged factors as fp16
        torch.testing.assert_close(session.forward([1, 2, 3]), wanted, atol=1e-3, rtol=0)
