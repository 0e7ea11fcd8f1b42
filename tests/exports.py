"""What tests of several files look at, made once in a run."""

import json
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import pytest
from chat_templates import SIZE, chat_tokenizer
from conftest import FLOAT32, save_adapter, tiny_llama
from encoders import (
    ENCODER_ID,
    HEADS,
    PREPROCESSOR,
    SIGHTS,
    TAGS,
    VIEWS,
    save_base,
    save_classifier,
    save_lora,
    save_sight,
    save_tagger,
    save_viewer,
    tiny_bert,
    tiny_vit,
)
from filelock import FileLock

from hydraopt.adapters import AdapterSet, read_adapter, read_adapters
from hydraopt.compression import compress
from hydraopt.lowering.bundle import export_bundle
from hydraopt.lowering.settings import ExportSettings
from hydraopt.lowering.static import static_merged
from hydraopt.merging.hydraopt import average, hydraopt
from hydraopt.merging.private import private
from hydraopt.packing import CodedAdapters, Coder, code_verbatim
from hydraopt.recipes import find_family
from hydraopt.recipes.export import export
from hydraopt.recipes.tiny import TINY_BUDGET, tiny_family
from hydraopt.stored import MergedAdapters
from hydraopt.zoo import ADAPTERS, BASE, load_adapters

CONTEXT = 512  # of conversations
FEW_TASKS = ("date-de", "words-en", "unit-it")


@pytest.fixture(scope="session")
def made(tmp_path_factory) -> Callable[[str, Callable[[Path], object]], Path]:
    """A directory by name, which a function makes at the path that it is given.

    Whichever process of the run asks first makes it; the others wait.
    """
    root = tmp_path_factory.getbasetemp()
    root = root.parent if "PYTEST_XDIST_WORKER" in os.environ else root

    def make(name: str, write: Callable[[Path], object]) -> Path:
        with FileLock(root / f"{name}.lock"):
            if not (root / name).exists():
                staging = Path(tempfile.mkdtemp(dir=root)) / name
                write(staging)
                staging.rename(root / name)
        return root / name

    return make


@pytest.fixture(scope="session")
def exported(made) -> Callable[..., Path]:
    """A bundle by name, of adapters that a function makes, on a base."""

    def export(name: str, make, base, settings=FLOAT32, **options) -> Path:
        def write(path: Path) -> None:
            export_bundle(make(), str(base), path, settings, **options)

        return made(name, write)

    return export


@pytest.fixture(scope="session")
def bundle(exported, merged, base) -> Path:
    return exported("bundle", lambda: merged, base)


@pytest.fixture(scope="session")
def other_bundle(exported, base, tmp_path_factory) -> Path:
    """Same base, same shapes, other adapters: its packs would fit but for the shared rows."""

    def make() -> MergedAdapters:
        root = tmp_path_factory.mktemp("other")
        directories = [root / name for name in ("alpha", "beta", "gamma")]
        for seed, directory in enumerate(directories):
            save_adapter(directory, 10 + seed)
        hydraopt(read_adapters(directories), rank=8).save(root / "merged")
        return MergedAdapters.load(root / "merged")

    return exported("other", make, base)


@pytest.fixture(scope="session")
def methods_bundle(exported, merged, base) -> Path:
    return exported("methods", lambda: merged, base, swap="methods")


@pytest.fixture(scope="session")
def portable_bundle(exported, merged, base) -> Path:
    """Without ExecuTorch's operators for language models."""
    settings = ExportSettings("none", attention="portable")
    return exported("portable", lambda: merged, base, settings)


@pytest.fixture(scope="session")
def verbatim(adapter_dirs) -> CodedAdapters:
    """With shared rows of all that the adapters change."""
    return code_verbatim(hydraopt(read_adapters(adapter_dirs), rank=12))


@pytest.fixture(scope="session")
def quantised_bundle(exported, verbatim, base) -> Path:
    """Its shared rows are layers; nothing was compared."""
    options = {"check": False, "calibration": "none"}
    return exported("quantised", lambda: verbatim, base, ExportSettings("8da4w"), **options)


@pytest.fixture(scope="session")
def few_coded() -> CodedAdapters:
    """A few tasks of the zoo."""
    adapters = AdapterSet(read_adapter(ADAPTERS / task) for task in FEW_TASKS)
    return Coder.from_adapters(adapters).code(int(0.3 * adapters.fp16_bytes))


@pytest.fixture(scope="session")
def data_bundle(exported, few_coded) -> Path:
    """Tasks as .ptd files."""
    return exported("data", lambda: few_coded, BASE, swap="data")


@pytest.fixture(scope="session")
def encoder_base(tmp_path_factory) -> Path:
    return save_base(tiny_bert(), tmp_path_factory.mktemp("encoder") / "base")


@pytest.fixture(scope="session")
def encoder_bundle(exported, encoder_base, tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("encoder_adapters")
    save_lora(root / "alpha", tiny_bert(), ENCODER_ID, 0, target_modules=["query", "value"])
    return exported("encoder", lambda: private(read_adapters([root / "alpha"])), encoder_base)


def _write(root: Path, tasks: Iterable[str]) -> None:
    """Write the bundle of a directory's base and tasks."""
    merged = private(read_adapters([root / task for task in tasks]))
    export_bundle(merged, str(root / "base"), root / "bundle", FLOAT32)


def _write_heads(root: Path, save: Callable, classes: Mapping[str, int]) -> None:
    """Write a base, an adapter with a head for each task, and their bundle."""
    save_base(tiny_bert(), root / "base")
    for seed, (task, count) in enumerate(classes.items()):
        save(root / task, count, seed)
    _write(root, classes)


@pytest.fixture(scope="session")
def classifiers(made) -> Path:
    """A base, tasks that classify texts, and their bundle."""
    return made("classifiers", lambda root: _write_heads(root, save_classifier, HEADS))


@pytest.fixture(scope="session")
def taggers(made) -> Path:
    """A base, tasks that classify tokens, and their bundle."""
    return made("taggers", lambda root: _write_heads(root, save_tagger, TAGS))


def _save_image_base(root: Path) -> None:
    save_base(tiny_vit(), root / "base")
    (root / "base" / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR))


@pytest.fixture(scope="session")
def viewers(made) -> Path:
    """An image model with a preprocessor, tasks without heads, and their bundle."""

    def write(root: Path) -> None:
        _save_image_base(root)
        for seed, task in enumerate(VIEWS):
            save_viewer(root / task, seed)
        _write(root, VIEWS)

    return made("viewers", write)


@pytest.fixture(scope="session")
def sights(made) -> Path:
    """The same with tasks that classify pictures."""

    def write(root: Path) -> None:
        _save_image_base(root)
        for seed, (task, count) in enumerate(SIGHTS.items()):
            save_sight(root / task, count, seed)
        _write(root, SIGHTS)

    return made("sights", write)


@pytest.fixture(scope="session")
def recipe(made) -> Callable[[str], Path]:
    """By a family's name, its tiny bundle, and ``record.json`` with what its export found."""

    def of(family: str) -> Path:
        def write(root: Path) -> None:
            with tiny_family(find_family(family)) as (base, sources):
                record = export(sources, base, root / "bundle", TINY_BUDGET, ExportSettings())
            (root / "record.json").write_text(json.dumps(record))

        return made(f"recipe-{family}", write)

    return of


@pytest.fixture(scope="session")
def averaged(adapter_dirs, tmp_path_factory) -> MergedAdapters:
    """One adapter for all tasks, as loaded from disk."""
    directory = tmp_path_factory.mktemp("averaged") / "merged"
    average(read_adapters(adapter_dirs)).save(directory)
    return MergedAdapters.load(directory)


@pytest.fixture(scope="session")
def static_bundle(exported, averaged, base) -> Path:
    return exported("static", lambda: static_merged(averaged), base)


def save_chat_base(directory: Path, **sizes: int) -> Path:
    """Write the tiny Llama with room for the tokens of a chat."""
    model = tiny_llama(**sizes)
    model.resize_token_embeddings(SIZE, mean_resizing=False)
    model.save_pretrained(directory)
    chat_tokenizer().save_pretrained(directory)
    return directory


@pytest.fixture(scope="session")
def chat_base(tmp_path_factory) -> Path:
    return save_chat_base(tmp_path_factory.mktemp("chat") / "base")


@pytest.fixture(scope="session")
def pieces_bundle(exported, merged, chat_base) -> Path:
    """Its program takes a prompt in pieces of 8 tokens."""
    settings = ExportSettings("none", max_length=32, prefill_length=8)
    return exported("pieces", lambda: merged, chat_base, settings)


@pytest.fixture(scope="session")
def conversations_base(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("conversations") / "base"
    return save_chat_base(directory, max_position_embeddings=CONTEXT)


@pytest.fixture(scope="session")
def conversations_bundle(exported, merged, conversations_base) -> Path:
    """Its context has room for several turns."""
    settings = ExportSettings("none", max_length=CONTEXT, prefill_length=32)
    return exported("conversations", lambda: merged, conversations_base, settings)


@pytest.fixture(scope="session")
def zoo_bundle(exported) -> Path:
    """All 40 tasks in a tenth of their bytes, packs in one file."""
    return exported("zoo", lambda: compress(load_adapters(), "10%"), BASE, single_pack=True)
