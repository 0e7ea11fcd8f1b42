"""Escape untrusted names and texts for output: terminal, shell, Markdown and HTML."""

import html as _html
import re
import shlex

# control characters, among them the start of terminal escape sequences; line separators;
# changes of text direction; lone surrogates, which stand for non-UTF-8 bytes in paths
_CONTROL = re.compile("[\0-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
# characters that start inline markup; an underscore between letters or digits does not
_MARKUP = re.compile(r"[\\`*\[\]<>&|~$!#]|(?<![^\W_])_|_(?![^\W_])")


def visible(text: str, keep: str = "") -> str:
    r"""Escape for a terminal: control characters, except those in ``keep``, become ``\x1b`` etc."""
    return _CONTROL.sub(lambda found: found[0] if found[0] in keep else _escape(found[0]), text)


def shell(text: str) -> str:
    """Quote as one word of a shell command."""
    return shlex.quote(visible(text))


def markdown(text: str) -> str:
    """Escape for a line or table cell in Markdown."""
    return _MARKUP.sub(r"\\\g<0>", visible(text))


def html(text: str) -> str:
    """Escape for an HTML element or attribute."""
    return _html.escape(visible(text))


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode()
