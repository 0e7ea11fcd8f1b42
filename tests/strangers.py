"""Tokenizers and chat templates that fail, each in a way of its own."""

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydraopt.zoo.model import new_tokenizer

HUGE = 10**9
LIMITED = "takes more than|MemoryError|makes .* bytes"


def charsmap(size: int) -> dict[str, Any]:
    """A normalizer of SentencePiece whose table has another size than it says."""
    damaged = size.to_bytes(4, "little") + b"\xff" * 8 + b"abc"
    return {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(damaged).decode()}


def split(pattern: str) -> dict[str, Any]:
    """A pre-tokenizer of a regular expression."""
    return {
        "type": "Split",
        "pattern": {"Regex": pattern},
        "behavior": "Isolated",
        "invert": False,
    }


def growing(times: int) -> list[dict[str, Any]]:
    """Steps that make a text of a hundred thousand characters of every one, and more."""
    return [{"type": "Replace", "pattern": {"Regex": "."}, "content": "a" * 100}] * times


def padding(length: int) -> dict[str, Any]:
    """Padding of every text to a length."""
    return {
        "strategy": {"Fixed": length},
        "direction": "Right",
        "pad_to_multiple_of": None,
        "pad_id": 256,
        "pad_type_id": 0,
        "pad_token": "<pad>",
    }


UNKNOWN = {
    "type": "TemplateProcessing",
    "single": [{"SpecialToken": {"id": "<none>", "type_id": 0}}],
    "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
    "special_tokens": {},
}
CUT = {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 4}

# kind -> (changes of a tokenizer.json, what is said of it)
TOKENIZERS: Mapping[str, tuple[Mapping[str, Any], str]] = {
    "a damaged charsmap": ({"normalizer": charsmap(8)}, "index out of bounds"),
    "a charsmap of 4 GiB": ({"normalizer": charsmap(2**32 - 9)}, LIMITED),
    "a template with an unknown id": ({"post_processor": UNKNOWN}, "no entry found for key"),
    "a decoder that strips a hundred characters": (
        {"decoder": {"type": "Strip", "content": "a", "start": 0, "stop": 100}},
        "index out of bounds",
    ),
    "pieces of no length": ({"pre_tokenizer": {"type": "FixedLength", "length": 0}}, "non-zero"),
    "a pattern that is none": ({"pre_tokenizer": split("(")}, "unmatched parenthesis"),
    "a normalizer that grows": (
        {"normalizer": {"type": "Sequence", "normalizers": growing(3)}},
        LIMITED,
    ),
    "a decoder that grows": ({"decoder": {"type": "Sequence", "decoders": growing(3)}}, LIMITED),
    "a pattern that goes back more than onig allows": (
        {"pre_tokenizer": split("(?=(a+)+b)")},
        "retry-limit-in-match over",
    ),
    "a pattern that goes back at every character": (
        {"pre_tokenizer": split("(?=(?:a|a){20}[cd])")},
        LIMITED,
    ),
}

# kind -> (template, what is said of it)
TEMPLATES: Mapping[str, tuple[str, str]] = {
    "a loop": (
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
        LIMITED,
    ),
    "a range": ("{% for i in range(10**10) %}x{% endfor %}", "Range too big"),
    "a text of 10^10 characters": ("{{ 'a' * 10**10 }}", LIMITED),
    "a text of 10^8 characters": ("{{ 'a' * 10**8 }}", LIMITED),
    "a text that doubles": (
        "{% set ns = namespace(x='a') %}"
        "{% for i in range(99) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
        LIMITED,
    ),
    "a macro that calls itself": (
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "maximum recursion depth",
    ),
    "half a surrogate pair": ("{{ '\\ud800' + messages[0].content }}", "surrogates not allowed"),
    "brackets": ("{{ " + "(" * 9999 + "1" + ")" * 9999 + " }}", "maximum recursion depth"),
}


def write_tokenizer(path: Path, changes: Mapping[str, Any]) -> Path:
    """The zoo's ``tokenizer.json``, changed."""
    content = json.loads(new_tokenizer().backend_tokenizer.to_str())
    path.write_text(json.dumps(content | changes))
    return path
