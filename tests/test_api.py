"""``import hydraopt``: the public names, and what they cost to import."""

import subprocess
import sys

import pytest
import torch
from conftest import FLOAT32, tiny_llama
from unlowered import Unlowered

import hydraopt
from hydraopt.evaluation import adapted
from hydraopt.formats.manifest import Manifest


def test_every_public_name_is_there_and_documented():
    for name in hydraopt.__all__:
        assert getattr(hydraopt, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'kompress'"):
        _ = hydraopt.kompress


def test_no_public_name_hides_a_module():
    code = (
        "import hydraopt, importlib.util as u\n"
        "for name in hydraopt.__all__: print(u.find_spec(f'hydraopt.{name}'))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["None"] * len(hydraopt.__all__)


def test_importing_it_imports_nothing_heavy():
    code = "import sys, hydraopt, hydraopt.formats.manifest; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "transformers", "executorch", "sklearn"} & {*done.stdout.split()}


@pytest.mark.slow
def test_adapters_to_answers(adapter_dirs, base, tmp_path):
    adapters = hydraopt.read_adapters(adapter_dirs)
    compressed = hydraopt.compress(adapters, "50%")
    exported = hydraopt.export(compressed, str(base), tmp_path / "bundle", FLOAT32)
    assert exported.manifest == Manifest.read(tmp_path / "bundle")
    session = hydraopt.Session.open(tmp_path / "bundle")
    merged = hydraopt.merge("hydraopt", adapters)
    for found, adapted_by in ((session, compressed), (Unlowered(merged, base), merged)):
        found.switch("beta")
        model = tiny_llama()
        with adapted(model, adapted_by.task_factors("beta")), torch.no_grad():
            wanted = model(torch.tensor([[1, 2, 3]])).logits[0, -1]
        # a bundle keeps merged factors as fp16
        torch.testing.assert_close(found.forward([1, 2, 3]), wanted, atol=1e-3, rtol=0)
