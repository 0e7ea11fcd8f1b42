"""Whatever a file holds: it is refused in one line, or what it says is what was meant.

``make test`` tries the same 50 changes of each kind every time; ``make fuzz`` tries
``FUZZ_EXAMPLES`` other ones.
"""

import json
import os
import shutil
from copy import deepcopy
from pathlib import Path

import pytest
from catalogue.world import RESULTS
from conftest import random_set, save_adapter
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hydraopt.adapters import read_adapter
from hydraopt.compression import compress
from hydraopt.documents import sealed
from hydraopt.errors import HydraOptError
from hydraopt.formats.layout import Layout, payload_bytes
from hydraopt.formats.manifest import Manifest
from hydraopt.formats.pack import Pack
from hydraopt.formats.stored import read_description
from hydraopt.packing import open_stored
from hydraopt.profiling.compare import compare
from hydraopt.profiling.results import read_results
from hydraopt.training import read_examples

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "0"))
LONGEST = 1000  # characters of an error, with two paths

fuzzed = settings(
    max_examples=EXAMPLES or 50,
    derandomize=not EXAMPLES,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)

numbers = st.integers() | st.floats() | st.sampled_from([0, -1, 1 << 63, 10**400, 1e308])
texts = st.text(st.characters(), max_size=20) | st.sampled_from(["..", "/", "\0", "a" * 10**5])
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)


@st.composite
def documents(draw, document):
    """A JSON document with some values replaced, taken out or added, at any depth."""
    changed = deepcopy(document)
    for _ in range(draw(st.integers(1, 3))):
        place = changed
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if isinstance(place[key], dict | list) and place[key] and draw(st.booleans()):
                place = place[key]
                continue
            if draw(st.integers(0, 5)):
                place[key] = draw(values)
            else:
                del place[key]
            break
    return changed


@st.composite
def contents(draw, content):
    """Bytes with some of them flipped, replaced, taken out, repeated or put in."""
    changed = bytearray(content)
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(changed)))
        end = min(len(changed), start + draw(st.sampled_from([0, 1, 8, 1 << 20])))
        changed[start:end] = draw(st.binary(max_size=8) | st.just(changed[start:end] * 2))
    return bytes(changed)


def accepted(read, *arguments):
    """What ``read`` gives; None if it refuses, which it must do in one line."""
    try:
        return read(*arguments)
    except HydraOptError as error:
        assert "\n" not in str(error) and len(str(error)) < LONGEST
        return None


def dumped(document) -> bytes:
    """JSON, with whatever a value holds."""
    return json.dumps(document).encode()


@pytest.fixture(scope="module")
def coded(tmp_path_factory):
    directory = tmp_path_factory.mktemp("fuzz") / "coded"
    compress(random_set(2), "90%").save(directory)
    return directory


@pytest.fixture(scope="module")
def manifest(coded) -> Manifest:
    """A manifest of the coded adapters; no program is needed to read it."""
    about, files = read_description(coded), read_description(coded)["files"]
    program = {"model.pte": {"bytes": 1, "sha256": "0" * 64}}
    layout = {"layout.json": files.pop("layout.json")}
    fields = {
        **{"format_version": 8, "base_model": "b", "executorch": "1.5.1", "quantize": "none"},
        **{"base_config_sha256": "0" * 64, "method": "budget", "adapter_bytes": 9},
        **{"files": files | program, "classes": {}, "deviation": 1e-6},
        "model": {
            **{"kind": "causal_lm", "vocabulary": 258, "max_length": 32, "prefill_length": 31},
            **{"embedding": "none", "attention": "llm", "eos_ids": [257]},
            "chat": {
                **{"prefix": "<", "suffix": ">", "strip": True, "arguments": {}},
                "conversation": {
                    **{"system": ["[", "]"], "answer": ">", "message": "|<"},
                    **{"stripped": ["system"], "thoughts": None},
                },
            },
        },
        "swap": {
            **{"mode": "inputs", "static_rows": False, "constant_bytes": 0},
            **{"binding": "0" * 32, "growth": layout},
            "packs": {task: vars(pack) for task, pack in about["packs"].items()},
            "factors": {"a": [1, 2, 3]},
        },
    }
    (coded.parent / "manifest.json").write_bytes(sealed(fields))
    return Manifest.read(coded.parent)


@fuzzed
@given(data=st.data())
def test_a_manifest_of_other_bytes_is_refused_or_the_same(manifest, coded, tmp_path_factory, data):
    there = tmp_path_factory.mktemp("m")
    good = (coded.parent / "manifest.json").read_bytes()
    (there / "manifest.json").write_bytes(data.draw(contents(good)))
    assert accepted(Manifest.read, there) in (None, manifest)


@fuzzed
@given(data=st.data())
def test_a_manifest_of_other_fields_is_one_or_refused(manifest, coded, tmp_path_factory, data):
    """With a digest that fits, as who means harm would make it."""
    there = tmp_path_factory.mktemp("m")
    fields = json.loads((coded.parent / "manifest.json").read_text())
    del fields["digest"]
    changed = data.draw(documents(fields))
    try:
        (there / "manifest.json").write_bytes(sealed(changed))
    except (ValueError, AttributeError):  # no document that could be written
        return
    found = accepted(Manifest.read, there)
    if found is not None:
        assert found.tasks and all(Path(name).parts[0] not in ("/", "..") for name in found.names)


@fuzzed
@given(data=st.data())
def test_a_layout_is_one_or_refused(coded, tmp_path_factory, data):
    path = tmp_path_factory.mktemp("l") / "layout.json"
    path.write_bytes(dumped(data.draw(documents(json.loads((coded / "layout.json").read_text())))))
    layout = accepted(Layout.read, path)
    if layout is not None:
        path.write_text(layout.text())
        assert Layout.read(path) == layout
        assert payload_bytes(layout.task) >= 0


@fuzzed
@given(data=st.data())
def test_a_pack_of_other_bytes_is_refused_or_the_same(coded, tmp_path_factory, data):
    there = tmp_path_factory.mktemp("p")
    merged = open_stored(coded)
    task, pack = next(iter(read_description(coded)["packs"].items()))
    (there / "packs").mkdir()
    (there / pack.file).write_bytes(data.draw(contents((coded / pack.file).read_bytes())))
    size, binding = payload_bytes(merged.layout.task), merged.layout.binding(merged.shared.numpy())
    found = accepted(pack.payload, there, size, binding)
    assert found is None or (found == merged.payloads[task].numpy()).all()
    if (there / pack.file).stat().st_size:  # with a record that fits
        found = accepted(Pack.of(there, pack.file).payload, there, size, binding)
        assert found is None or len(found) == size


@pytest.fixture(scope="module")
def adapter(tmp_path_factory):
    directory = tmp_path_factory.mktemp("fuzz") / "adapter"
    save_adapter(directory, rank_pattern={"q_proj": 2})
    return directory


def copied(adapter, tmp_path_factory) -> Path:
    return shutil.copytree(adapter, tmp_path_factory.mktemp("a") / "adapter")


def check_adapter(directory):
    found = accepted(read_adapter, directory)
    if found is not None:
        assert all(x.isfinite().all() for factors in found.factors.values() for x in factors)
        assert found.base_model.encode()


@fuzzed
@given(data=st.data())
def test_an_adapter_configuration_is_one_or_refused(adapter, tmp_path_factory, data):
    path = copied(adapter, tmp_path_factory) / "adapter_config.json"
    path.write_bytes(dumped(data.draw(documents(json.loads(path.read_text())))))
    check_adapter(path.parent)


@fuzzed
@given(data=st.data())
def test_adapter_tensors_are_some_or_refused(adapter, tmp_path_factory, data):
    path = copied(adapter, tmp_path_factory) / "adapter_model.safetensors"
    good = path.read_bytes()
    head = 8 + int.from_bytes(good[:8], "little")  # most of what can go wrong
    path.write_bytes(data.draw(contents(good[:head])) + good[head:])
    check_adapter(path.parent)


@fuzzed
@given(data=st.data())
def test_lines_of_examples_are_some_or_refused(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("j") / "data.jsonl"
    line = {"task": "a", "prompt": "Grüße \u2028 🙂", "answer": "x"}
    lines = data.draw(st.lists(documents(line) | st.just(line), min_size=1, max_size=3))
    content = b"\n".join(
        json.dumps(x, ensure_ascii=data.draw(st.booleans())).encode(errors="surrogatepass")
        for x in lines
    )
    path.write_bytes(data.draw(st.just(content) | contents(content)))
    found = accepted(read_examples, path, ["a"])
    if found is not None:
        assert found["a"] and all(text.encode() for pair in found["a"] for text in pair)


@fuzzed
@given(data=st.data())
def test_results_are_compared_or_refused(tmp_path_factory, data):
    paths = [tmp_path_factory.mktemp("r") / "results.json" for _ in range(2)]
    paths[0].write_bytes(dumped(data.draw(documents(RESULTS))))
    paths[1].write_bytes(dumped(data.draw(st.just(RESULTS) | documents(RESULTS))))
    first, second = (accepted(read_results, path) for path in paths)
    if first is not None and second is not None:
        changes = accepted(compare, first, second, 0.1)
        assert changes is None or all(change.share == change.share for change in changes)
