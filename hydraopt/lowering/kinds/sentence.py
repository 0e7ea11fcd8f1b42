"""Read a model's sentence-transformers settings: how a text becomes an embedding.

``modules.json`` lists the modules: Transformer, Pooling and optionally Normalize. Other modules,
and settings that change outputs and cannot be part of a program, are refused by name.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn

from transformers import PreTrainedModel

from ...errors import LoweringError
from ...hub import repository_file
from ...reading import MissingError, UnreadableError, file_json, shortened
from .pooling import MODES

MODULES = "modules.json"
SETTINGS = "config_sentence_transformers.json"
TRANSFORMERS = tuple(  # the first one found; older versions have the others
    f"sentence_{name}_config.json"
    for name in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
TOKENIZER = "tokenizer_config.json"
STEPS = (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"])
FLAGS = {  # Pooling settings of older versions
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
FIXED = {  # Transformer settings with the only supported value
    "transformer_task": "feature-extraction",
    "module_output_name": "token_embeddings",
    "tokenizer_name_or_path": None,
}


@dataclass(frozen=True)
class Sentence:
    """Settings of sentence-transformers.

    Attributes:
        pooling: one of :data:`.pooling.MODES`.
        normalized: whether embeddings are scaled to unit length.
        max_length: maximum length of a text in tokens, beyond which sentence-transformers
            truncates; None for the model's limit.
        lower_case: whether texts are converted to lower case.
        prompt: prefix of every text.
    """

    pooling: str = "mean"
    normalized: bool = True
    max_length: int | None = None
    lower_case: bool = False
    prompt: str = ""


def sentence_of(model: PreTrainedModel) -> Sentence:
    """Return the settings that :func:`read_sentence` read for a model."""
    return vars(model).get("sentence", Sentence())


def read_sentence(source: str) -> Sentence:
    """Read a model's settings; without ``modules.json`` the normalized mean.

    Args:
        source: directory or hub id of the model.

    Raises:
        LoweringError: a file cannot be read, or a module or setting is not supported.
    """
    modules = _read(source, MODULES, list)
    if modules is None:
        return Sentence()
    paths = _paths(source, modules)
    settings, pooling = _read(source, SETTINGS) or {}, _pooling(source, paths[1])
    transformer = _transformer(source)
    return Sentence(
        pooling=_mode(source, pooling),
        normalized=len(paths) > 2,
        max_length=_length(source, transformer),
        lower_case=bool(transformer.get("do_lower_case")),
        prompt=_prompt(source, settings, pooling),
    )


def _paths(source: str, modules: Sequence[Any]) -> Sequence[str]:
    """Return the paths of the modules' settings; refuse unsupported modules."""
    steps = [_step(module) for module in modules]
    names, paths = [name for name, _ in steps], [path for _, path in steps]
    if names not in STEPS or paths[0] or not all(paths[1:]):
        expected = "the Transformer of this very directory, a Pooling and perhaps a Normalize"
        step = "take further ones out of it and apply them to the program's embeddings"
        _refuse(source, MODULES, f"the steps {', '.join(names) or 'none'}", f"{expected}; {step}")
    for path in paths[2:]:
        normalize = _read(source, f"{path}/config.json") or {}
        for key in ("module_input_name", "module_output_name"):
            if normalize.get(key) not in (None, "sentence_embedding"):
                _refuse(source, f"{path}/config.json", f"{key} {normalize[key]}", "an embedding")
    return paths


def _step(module: Any) -> tuple[str, str]:
    """Return a module's name and the path of its settings.

    Classes of other packages keep their full name; paths outside the directory are refused.
    """
    fields = module if isinstance(module, dict) else {}
    kind, path = str(fields.get("type")), PurePosixPath(str(fields.get("path")))
    name = kind.rpartition(".")[2] if kind.startswith("sentence_transformers.") else kind
    inside = not path.is_absolute() and ".." not in path.parts
    return name if inside else f"{name} in {path}", "" if path == PurePosixPath() else str(path)


def _pooling(source: str, path: str) -> dict[str, Any]:
    config = _read(source, f"{path}/config.json")
    if config is None:
        _refuse(source, f"{path}/config.json", "nothing", "how to pool; restore the file")
    return config


def _mode(source: str, config: dict[str, Any]) -> str:
    """Return the mode of a Pooling; by default the mean, as in sentence-transformers."""
    flags = [mode for flag, mode in FLAGS.items() if config.get(flag)]
    found = config.get("pooling_mode", flags or "mean")
    modes = found if isinstance(found, list) else [found]
    if len(modes) != 1 or modes[0] not in MODES:
        listed = " and ".join(map(str, modes))
        _refuse(source, "Pooling", f"the mode {listed}", f"one of {', '.join(MODES)}")
    return modes[0]


def _transformer(source: str) -> dict[str, Any]:
    """Read the settings of the Transformer; refuse unsupported ones."""
    config: dict[str, Any] = {}
    for where in TRANSFORMERS:
        if config := _read(source, where) or {}:
            break
    for key, value in FIXED.items():
        if config.get(key, value) != value:
            _refuse(source, where, f"{key} {config[key]}", str(value))
    modalities, processing = _part(config, "modality_config"), _part(config, "processing_kwargs")
    output = _part(modalities, "text").get("method_output_name", "last_hidden_state")
    if (modalities and "text" not in modalities) or output != "last_hidden_state":
        _refuse(source, where, f"modality_config {modalities}", "texts' last_hidden_state")
    if processing.get("text") or processing.get("common"):
        _refuse(source, where, f"processing_kwargs {processing}", "none for texts")
    return config


def _length(source: str, transformer: dict[str, Any]) -> int | None:
    """Return the maximum length of a text by the Transformer's or the tokenizer's settings."""
    found = transformer.get("max_seq_length")
    if found is None:
        found = (_read(source, TOKENIZER) or {}).get("model_max_length")
    return int(found) if isinstance(found, int | float) and 0 < found < 1 << 31 else None


def _prompt(source: str, settings: dict[str, Any], pooling: dict[str, Any]) -> str:
    """Return the default prompt of ``encode``."""
    name = settings.get("default_prompt_name")
    if name is None:
        return ""
    prompt = _part(settings, "prompts").get(str(name))
    if not isinstance(prompt, str):
        _refuse(source, SETTINGS, f"no prompt {name}, the default one", "it among the prompts")
    if prompt and not pooling.get("include_prompt", True):
        _refuse(
            source,
            "Pooling",
            "a default prompt whose tokens are left out (include_prompt)",
            "all tokens of a text; train the adapters without it",
        )
    return prompt


def _part(settings: dict[str, Any], name: str) -> dict[str, Any]:
    """Return a group of settings; empty if there is none."""
    found = settings.get(name)
    return found if isinstance(found, dict) else {}


def _read(source: str, name: str, kind: type = dict) -> Any:
    """Read a JSON file of a model; None if there is no such file."""
    try:
        path = Path(source) / name if Path(source).is_dir() else repository_file(source, name)
        value = None if path is None else file_json(path)
    except MissingError:
        return None
    except UnreadableError as error:
        raise LoweringError(
            f"{shortened(source)}: {name} of sentence-transformers cannot be read ({error}); "
            "restore the file, or download the model"
        ) from None
    if value is not None and not isinstance(value, kind):
        _refuse(source, name, type(value).__name__, kind.__name__)
    return value


def _refuse(source: str, where: str, found: str, expected: str) -> NoReturn:
    raise LoweringError(
        f"{shortened(source)}: {where} of sentence-transformers has {shortened(found)}, expected "
        f"{expected}"
    )
