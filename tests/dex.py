"""What a DEX file holds and calls, as dexdump tells it, and what is Android's public API."""

import re
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

CLASS = re.compile(
    r"\b(?:class|interface) (\S+?)(?:<.*>)?(?: extends (.+?))?(?: implements (.+?))? \{"
)
MEMBER = re.compile(r"([\w$.]+)(?:\(|;$)")
REFERENCE = re.compile(r"L(android/[\w/$]+|io/hydraopt/[\w/$]+);\.([\w$<>-]+):")


def read_classes(path: Path) -> dict[str, str]:
    """dexdump's text of every class, by name such as ``android/app/Activity``."""
    text = run("dexdump", "-d", path)
    parts = re.split(r"^Class #\d+ +-$", text, flags=re.MULTILINE)[1:]
    return {re.search(r"Class descriptor +: 'L(.+);'", part)[1]: part for part in parts}


def run(*command) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def android_references(classes: Mapping[str, str], ours: str) -> set[tuple[str, str]]:
    """Members of Android's classes that classes below a package refer to: (class, member).

    A member that one of our classes inherits belongs to the first class of Android above it.
    """
    own = {name: text for name, text in classes.items() if name.startswith(ours)}
    references = set().union(*(REFERENCE.findall(text) for text in own.values()))
    found = {_declared(owner, member, classes) for owner, member in references}
    return {(owner, member) for owner, member in found if owner.startswith("android/")}


def _declared(owner: str, member: str, classes: Mapping[str, str]) -> tuple[str, str]:
    while owner in classes and f"name          : '{member}'" not in classes[owner]:
        owner = re.search(r"Superclass +: 'L(.+);'", classes[owner])[1]
    return owner, member


class PublicApi:
    """Names of the members of Android's classes, read from stubs of its public API."""

    def __init__(self, stubs: Path):
        self._stubs = stubs
        self._members: dict[str, set[str]] = {}
        self._above: dict[str, list[str]] = {}

    def missing(self, references: Iterable[tuple[str, str]]) -> set[str]:
        """Those references that the stubs do not have, as ``class.member``."""
        references = set(references)
        self._read({owner for owner, _ in references})
        return {f"{owner}.{member}" for owner, member in references if not self._has(owner, member)}

    def _has(self, owner: str, member: str) -> bool:
        above = self._above.get(owner, [])
        return member in self._members.get(owner, ()) or any(self._has(x, member) for x in above)

    def _read(self, names: set[str]) -> None:
        """Read classes and all above them."""
        while new := {name for name in names if name not in self._members}:
            for name in new:
                self._members[name], self._above[name] = set(), []
            dotted = [name.replace("/", ".") for name in sorted(new)]
            command = ["javap", "-protected", "-cp", str(self._stubs), *dotted]
            text = subprocess.run(command, capture_output=True, text=True, check=False).stdout
            current = ""
            for line in text.splitlines():
                if head := CLASS.search(line):
                    current = head[1].replace(".", "/")
                    above = ",".join(filter(None, head.groups()[1:])) or "java.lang.Object"
                    self._above[current] = [
                        re.sub("<.*", "", x).strip().replace(".", "/") for x in above.split(",")
                    ]
                elif line.startswith("  ") and (member := MEMBER.search(line)):
                    name = member[1].rpartition(".")[2]
                    constructor = member[1].replace(".", "/") == current
                    self._members[current].add("<init>" if constructor else name)
            names = {x for name in new for x in self._above[name] if x.startswith("android/")}
