"""Files of a base: whole shards load, others are refused by name and hang nobody."""

import json
import os
import shutil
from pathlib import Path

import pytest
from conftest import tiny_llama
from encoders import save_base
from saved_bases import INDEX, WEIGHTS, assert_computes, configured, refused


@pytest.fixture
def sharded(tmp_path) -> Path:
    model = tiny_llama()
    save_base(model, tmp_path / "base")
    (tmp_path / "base" / WEIGHTS).unlink()
    model.save_pretrained(tmp_path / "base", max_shard_size="100KB")
    return tmp_path / "base"


def shards(directory: Path) -> list[str]:
    return sorted({*json.loads((directory / INDEX).read_text())["weight_map"].values()})


def renamed(directory: Path, to: str) -> None:
    """Let the index name another file in place of the first shard."""
    text = (directory / INDEX).read_text()
    (directory / INDEX).write_text(text.replace(json.dumps(shards(directory)[0]), json.dumps(to)))


def test_whole_shards_are_loaded(sharded):
    assert len(shards(sharded)) > 1
    assert_computes(sharded, tiny_llama())


def test_a_shard_outside_of_the_directory_is_refused(sharded, tmp_path):
    first = shards(sharded)[0]
    shutil.move(sharded / first, tmp_path / first)
    for name in (str(tmp_path / first), f"../{first}"):
        renamed(sharded, name)
        assert f"(weights outside the directory: {name[:60]}" in refused(sharded)


def test_a_shard_that_is_a_pipe_hangs_nobody(sharded):
    (sharded / "sub").mkdir()
    os.mkfifo(sharded / "sub" / "pipe.safetensors")
    renamed(sharded, "sub/pipe.safetensors")
    assert "(sub/pipe.safetensors: not a regular file)" in refused(sharded)


def test_a_missing_and_a_cut_shard_are_named(sharded):
    first = sharded / shards(sharded)[0]
    content = first.read_bytes()
    first.write_bytes(content[:-100])
    assert f"({first.name}: Error while deserializing header: incomplete" in refused(sharded)
    first.unlink()
    assert f"({first.name}: No such file or directory)" in refused(sharded)


@pytest.mark.parametrize("text", ["[]", "{}", '{"weight_map": []}', '{"weight_map": {"a": 1}}'])
def test_an_index_that_is_none_is_named(sharded, text):
    (sharded / INDEX).write_text(text)
    assert f"({INDEX}: not a shard index, expected metadata and a" in refused(sharded)


def test_an_index_that_nobody_reads_is_no_matter(tmp_path):
    base = save_base(tiny_llama(), tmp_path / "base")
    (base / INDEX).write_text('{"metadata": {}, "weight_map": {"a": "none.safetensors"}}')
    assert_computes(base, tiny_llama())


def test_weights_that_a_configuration_names_are_in_its_directory(tmp_path):
    base = save_base(tiny_llama(), tmp_path / "base")
    config = json.loads((base / "config.json").read_text())
    shutil.move(base / WEIGHTS, base / "other.safetensors")
    configured(base, **config, transformers_weights="other.safetensors")
    assert_computes(base, tiny_llama())
    configured(base, **config, transformers_weights="../other.safetensors")
    assert "(weights outside the directory: ../other.safetensors)" in refused(base)


def test_a_pipe_among_the_chat_templates_hangs_nobody(tmp_path):
    base = save_base(tiny_llama(), tmp_path / "base")
    (base / "additional_chat_templates").mkdir()
    os.mkfifo(base / "additional_chat_templates" / "tool.jinja")
    assert "(additional_chat_templates/tool.jinja: not a regular file)" in refused(base)
