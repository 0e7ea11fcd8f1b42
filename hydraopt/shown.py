"""Names and texts that others chose, in what we show: one function for each medium.

They are shown as they are read, and mean nothing to what shows them: to a terminal, a shell, a
Markdown or an HTML page.
"""

import html as _html
import re
import shlex

# control characters, among them those that begin a terminal's sequences; separators of lines;
# changes of direction; halves of surrogate pairs, which paths that are no UTF-8 hold
_CONTROL = re.compile("[\0-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
# what begins markup inside a line; underscores inside a word do not
_MARKUP = re.compile(r"[\\`*\[\]<>&|~$!#]|(?<!\w)_|_(?!\w)")


def visible(text: str, keep: str = "") -> str:
    r"""For a terminal: control characters but those in ``keep`` as ``\x1b`` and the like."""
    return _CONTROL.sub(lambda found: found[0] if found[0] in keep else _escape(found[0]), text)


def shell(text: str) -> str:
    """For a command that somebody may copy: one word."""
    return shlex.quote(visible(text))


def markdown(text: str) -> str:
    """For a line or a table's cell in Markdown."""
    return _MARKUP.sub(r"\\\g<0>", visible(text))


def html(text: str) -> str:
    """For an element or an attribute of an HTML page."""
    return _html.escape(visible(text))


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode()
