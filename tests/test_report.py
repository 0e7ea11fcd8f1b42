"""Records on a terminal: what a kind of model has no value for is left out."""

import json

import pytest
from test_manifest import INPUTS, LM, MODELS, manifest

from hydraopt.cli.report import show, show_info
from hydraopt.formats.manifest import MANIFEST

OF_ENCODERS = {"per token", "pooling"}


def fields(text):
    """Name -> value of the lines that were printed."""
    return {line[:23].strip(): line[23:].strip() for line in text.splitlines() if line.strip()}


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.kind)
def test_a_bundle_has_no_empty_fields_and_none_of_other_kinds(model, tmp_path, capsys):
    manifest(model, INPUTS).write(tmp_path / MANIFEST)
    show_info(tmp_path, as_json=False)
    found = fields(capsys.readouterr().out)
    assert found["kind"] == model.kind
    assert not {"", "None", "False"} & {*found.values()}
    assert ("per token" in found) == (model.kind == "encoder")
    assert OF_ENCODERS.isdisjoint(found) or model.kind == "encoder"


def test_a_field_without_a_value_is_in_json_only(capsys):
    record = {"deviation": None, "pooling": {"mode": "cls", "prompt": ""}, "normalized": True}
    show(record, as_json=False)
    assert capsys.readouterr().out.split() == ["pooling", "mode", "cls", "normalized", "yes"]
    show(record, as_json=True)
    assert json.loads(capsys.readouterr().out) == record


def test_zero_is_a_value(tmp_path, capsys):
    manifest(LM, INPUTS).write(tmp_path / MANIFEST)
    show_info(tmp_path, as_json=False)
    assert fields(capsys.readouterr().out)["shared bytes"] == "0"
