"""A bundle's README.md: for people, no part of what is checked or what an app needs."""

import shutil

import pytest

from hydraopt.formats.manifest import CARD, Manifest
from hydraopt.lowering.growth import remove_task
from hydraopt.runtime import verify

pytestmark = pytest.mark.slow


def test_a_card_names_base_and_form_and_stays_true_when_tasks_go(bundle, tmp_path):
    copied = shutil.copytree(bundle, tmp_path / "copy")
    manifest, card = Manifest.read(copied), (copied / CARD).read_text()
    assert manifest.base_model in card
    assert "linear layers float32, embedding float32, attention llm, " in card
    assert f"tokens {manifest.max_length}; ExecuTorch {manifest.executorch}" in card
    assert not any(task in card for task in manifest.tasks)
    remove_task(copied, manifest.tasks[0])
    assert (copied / CARD).read_text() == card


def test_a_bundle_is_whole_without_its_card(bundle, tmp_path):
    copied = shutil.copytree(bundle, tmp_path / "copy")
    assert CARD not in Manifest.read(copied).names
    (copied / CARD).unlink()
    verify(copied)
