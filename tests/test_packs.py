"""Layouts and packs: bytes are counted as they are stored, and any damage is refused."""

import json
import random
from dataclasses import replace

import pytest
import torch
from conftest import delta, random_set
from llama_data import NEEDING, QUICK, data_of, llama_set

from hydraopt.documents import SCHEMAS
from hydraopt.errors import BundleError, MergeError
from hydraopt.factors import relative_error
from hydraopt.formats.codes import BITS, CODEC
from hydraopt.formats.layout import (
    Code,
    Direction,
    Layout,
    ModuleLayout,
    payload_bytes,
    read_layout,
)
from hydraopt.merging import METHODS, merge_with
from hydraopt.merging.hydraopt import average, hydraopt
from hydraopt.packing import (
    CodedAdapters,
    Coder,
    Unpack,
    code_verbatim,
    encode_adapter,
    open_stored,
)
from hydraopt.packing.coded import join_vectors, split_payload


def random_layout(seed: int) -> Layout:
    """Any mixture of bits and sharing, lengths that are no multiple of a byte's codes."""
    rng = random.Random(seed)

    def code() -> Code:
        return Code(rng.choice(BITS), rng.random() < 0.4)

    def directions() -> tuple[Direction, ...]:
        found = [Direction(code(), code()) for _ in range(rng.randint(1, 6))]
        return tuple(sorted(found, key=lambda direction: not direction.row.shared))

    modules = {
        f"layer{i}": ModuleLayout(
            (rng.randint(3, 21), rng.randint(3, 21)), directions(), (4.0, rng.random() + 0.1)
        )
        for i in range(3)
    }
    return Layout("base", modules)


def random_payload(sections) -> torch.Tensor:
    return torch.randint(0, 256, (payload_bytes(sections),), dtype=torch.uint8)


def test_the_schema_knows_the_codec_and_its_bits():
    schema = json.loads((SCHEMAS / "layout.json").read_text(encoding="utf-8"))
    assert schema["properties"]["codec"]["const"] == CODEC
    assert schema["definitions"]["code"]["items"][0]["enum"] == [*BITS]


@pytest.mark.parametrize("seed", range(5))
def test_a_layout_reads_back_from_its_json(seed, tmp_path):
    layout = random_layout(seed)
    assert read(layout.text(), tmp_path) == layout


@pytest.mark.parametrize("seed", range(5))
def test_every_vector_has_its_place_in_a_payload(seed):
    layout = random_layout(seed)
    for shared, sections in ((True, layout.shared), (False, layout.task)):
        payload = random_payload(sections)
        assert len(payload) == sum(m.bytes(shared=shared) for m in layout.modules.values())
        assert torch.equal(join_vectors(sections, split_payload(sections, payload)), payload)


@pytest.mark.parametrize("seed", range(5))
def test_unpack_gives_the_factors_in_the_layouts_order(seed):
    layout = random_layout(seed)
    factors = Unpack(layout)(random_payload(layout.shared), random_payload(layout.task))
    expected = [
        shape
        for m in layout.modules.values()
        for n in [len(m.directions)]
        for shape in ((1, m.length("A"), n), (1, n, m.length("B")))
    ]
    assert [tuple(factor.shape) for factor in factors] == expected
    assert all(factor.isfinite().all() for factor in factors)


@pytest.mark.parametrize("share", [0.1, 0.4])
def test_with_static_rows_unpack_gives_what_is_left_of_the_task_alone(share):
    adapters = random_set(9, rank=4, shapes=((40, 64), (64, 40)), spread=0.1)
    coded = Coder.from_adapters(adapters).code(int(share * adapters.fp16_bytes))
    layout = coded.layout
    assert any(m.shared_rows for m in layout.modules.values())
    names = [(name, side) for name, side, _ in layout.factors(static_rows=True)]
    for task, payload in coded.payloads.items():
        whole = coded.task_factors(task)
        found = dict(zip(names, Unpack(layout, static_rows=True)(payload), strict=True))
        for name, module in layout.modules.items():
            assert torch.equal(found[name, "B"][0].T, whole[name].b)
            private = whole[name].a[module.shared_rows :]
            assert ((name, "A") in found) == bool(len(private))
            if len(private):
                assert torch.equal(found[name, "A"][0].T, private)


def read(text: str, directory) -> Layout:
    (directory / "layout.json").write_text(text)
    return Layout.read(directory / "layout.json")


def test_shared_rows_come_first(tmp_path):
    text = random_layout(0).text()
    wrong = text.replace('"directions":[', '"directions":[[1,[1,0],[1,0]],[1,[1,1],[1,0]],')
    with pytest.raises(BundleError, match="private rows before shared ones"):
        read(wrong, tmp_path)


def test_directions_are_counted_before_they_are_made(tmp_path):
    text = random_layout(0).text()
    runs = ",".join(["[65536,[1,0],[1,0]]"] * 1000)
    with pytest.raises(BundleError, match="directions, expected at most"):
        read(text.replace('"directions":[', f'"directions":[{runs},', 1), tmp_path)


def test_a_changed_step_changes_one_vector_only():
    layout = random_layout(0)
    shared, task = random_payload(layout.shared), random_payload(layout.task)
    section = layout.task[0]
    changed = task.clone()
    changed[section.steps] = (int(changed[section.steps]) + 7) % 256
    module, side, index, _ = section.vectors[0]
    names = [(name, letter) for name, letter, _ in layout.factors(static_rows=False)]
    unpack = Unpack(layout)
    for name, before, after in zip(
        names, unpack(shared, task), unpack(shared, changed), strict=True
    ):
        along = 1 if name[1] == "A" else 2
        rows = (before != after).any(along)[0].nonzero().flatten().tolist()
        assert rows == ([index] if name == (module, side) else [])


@pytest.mark.parametrize("method", METHODS)
def test_what_any_method_returns_is_coded_without_loss(method):
    """Whatever its tasks share, so that every result goes into a bundle."""
    if method in NEEDING:
        adapters = llama_set()
        merged = merge_with(method, adapters, data_of(adapters), **QUICK.get(method, {}))
    else:
        merged = merge_with(method, random_set(4), **QUICK.get(method, {}))
    coded = code_verbatim(merged)
    for task in merged.tasks:
        for module, factors in merged.task_factors(task).items():
            assert relative_error(factors, coded.task_factors(task)[module]) < 1e-3


def test_packs_of_merged_adapters_hold_their_fp16_bit_for_bit(tmp_path):
    merged = merge_with("hydraopt", random_set(4), clusters=2)
    merged.save(tmp_path / "m")
    loaded = open_stored(tmp_path / "m")
    coded = code_verbatim(loaded)
    for task in merged.tasks:
        for module, wanted in loaded.task_factors(task).items():
            found = coded.task_factors(task)[module]
            assert torch.equal(found.a, wanted.a) and torch.equal(found.b, wanted.b)
            assert torch.equal(found.a.half(), merged.task_factors(task)[module].a.half())


def test_factors_that_exceed_fp16_are_coded_by_a_larger_step():
    merged = merge_with("private", random_set(2))
    modules = {m: (replace(a, stack=1e6 * a.stack), b) for m, (a, b) in merged.modules.items()}
    large = replace(merged, modules=modules)
    coded = code_verbatim(large)
    for module, wanted in large.task_factors("task0").items():
        assert relative_error(wanted, coded.task_factors("task0")[module]) < 1e-3


def test_tasks_with_equal_factors_have_one_pack(tmp_path):
    coded = code_verbatim(hydraopt(random_set(6), clusters=2))
    coded.save(tmp_path / "m")
    assert len({*coded.pack_names().values()}) == 2
    assert len(list((tmp_path / "m" / "packs").iterdir())) == 2
    assert open_stored(tmp_path / "m").tasks == coded.tasks


@pytest.fixture(scope="module")
def budgeted() -> CodedAdapters:
    adapters = random_set(5, shapes=((40, 64), (64, 40)))
    return Coder.from_adapters(adapters).code(adapters.fp16_bytes // 4)


def test_storage_is_the_size_of_the_files(budgeted, tmp_path):
    budgeted.save(tmp_path / "m")
    files = [tmp_path / "m" / "layout.json", tmp_path / "m" / "shared.pack"]
    files += (tmp_path / "m" / "packs").iterdir()
    assert budgeted.stored_bytes == sum(file.stat().st_size for file in files)


def test_what_is_saved_is_what_is_loaded(budgeted, tmp_path):
    budgeted.save(tmp_path / "m")
    loaded = open_stored(tmp_path / "m")
    assert loaded.describe() == budgeted.describe()
    for task in budgeted.tasks:
        for module, factors in budgeted.task_factors(task).items():
            assert torch.equal(delta(factors), delta(loaded.task_factors(task)[module]))


def test_the_errors_that_are_reported_are_those_of_the_deltas(budgeted):
    adapters = random_set(5, shapes=((40, 64), (64, 40)))
    for adapter in adapters.adapters:
        for module, factors in adapter.factors.items():
            wanted, found = delta(factors), delta(budgeted.task_factors(adapter.name)[module])
            error = float((wanted - found).norm() / wanted.norm())
            assert budgeted.errors[adapter.name][module] == pytest.approx(error, rel=1e-4)


def test_an_adapter_that_comes_later_gets_the_codes_that_it_would_have_had(budgeted):
    """The same layout and shared rows: tasks do not affect each other."""
    adapters = random_set(5, shapes=((40, 64), (64, 40)))
    for adapter in adapters.adapters:
        payload = encode_adapter(budgeted.layout, budgeted.shared, adapter)
        assert torch.equal(payload, budgeted.payloads[adapter.name])


def test_no_task_can_be_added_where_all_share_one_adapter():
    adapters = random_set(3)
    coded = code_verbatim(average(adapters))
    with pytest.raises(BundleError, match="share one adapter"):
        encode_adapter(coded.layout, coded.shared, adapters.adapters[0])


def test_a_budget_that_is_too_small_names_the_smallest():
    coder = Coder.from_adapters(random_set(3))
    with pytest.raises(MergeError, match=f"expected at least {coder.smallest:,}:"):
        coder.code(coder.smallest - 1)
    assert coder.code(coder.smallest).stored_bytes <= coder.smallest


@pytest.mark.parametrize(
    "change",
    [
        lambda fields: fields.pop("modules"),
        lambda fields: fields["modules"].clear(),
        lambda fields: fields["modules"]["layer0"].update(largest_steps=[0, 1]),
        lambda fields: fields["modules"]["layer0"].update(directions=[[1, [3, 0], [1, 0]]]),
        lambda fields: fields["modules"]["layer0"].update(directions=[[1, [4, 0]]]),
    ],
)
def test_a_damaged_layout_is_refused(budgeted, tmp_path, change):
    budgeted.save(tmp_path / "m")
    path = tmp_path / "m" / "layout.json"
    fields = json.loads(path.read_text())
    change(fields)
    path.write_text(json.dumps(fields))
    with pytest.raises(BundleError, match=r"layout\.json is damaged"):
        read_layout(tmp_path / "m")
    with pytest.raises(BundleError, match=r"layout\.json is damaged or from another directory"):
        open_stored(tmp_path / "m")


def test_a_merged_directory_with_foreign_packs_is_refused(budgeted, tmp_path):
    budgeted.save(tmp_path / "m")
    adapters = random_set(5, shapes=((40, 64), (64, 40)), seed=1)
    Coder.from_adapters(adapters).code(adapters.fp16_bytes // 4).save(tmp_path / "other")
    own = tmp_path / "m" / "packs" / "task1.pack"
    own.write_bytes((tmp_path / "other" / "packs" / "task1.pack").read_bytes())
    with pytest.raises(BundleError, match=r"from another bundle|it ends after"):
        open_stored(tmp_path / "m")
