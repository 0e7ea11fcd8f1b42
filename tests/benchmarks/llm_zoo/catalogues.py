"""Read translations of UI strings from compiled gettext catalogues."""

import re
from collections.abc import Iterator
from pathlib import Path

from babel.messages.mofile import read_mo

from .examples import Example

PACKAGES = (
    "evolution-common",
    "gedit-common",
    "gimp-data",
    "libgtk-3-common",
    "nautilus-data",
    "vlc-l10n",
)
# of these a string means something to a program, or is not a sentence of one line
SPECIAL = re.compile(r"[%{}<>\\\n\t|=$#@]")
MNEMONIC = re.compile(r"_(?=\w)|&(?=\w)| ?\([_&]\w\)")


def translations(root: Path, locale: str) -> Iterator[Example]:
    """Strings with letters and their translation, of all catalogues of ``locale`` below ``root``.

    Marks of keyboard shortcuts are removed. Strings that are the same in both languages are left
    out, and so are those that hold placeholders or markup.
    """
    for path in sorted(root.glob(f"usr/share/locale/{locale}/LC_MESSAGES/*.mo")):
        with path.open("rb") as file:
            catalogue = read_mo(file)
        for message in catalogue:
            if not isinstance(message.id, str) or not isinstance(message.string, str):
                continue  # plural forms
            source, answer = plain(message.id), plain(message.string)
            if source and answer and source != answer:
                yield Example(source, source, answer)


def plain(text: str) -> str:
    """``text`` without marks of shortcuts; empty if it is not plain text with a few letters."""
    text = MNEMONIC.sub("", text).strip()
    letters = sum(map(str.isalpha, text))
    return text if letters > 2 and not SPECIAL.search(text) else ""
