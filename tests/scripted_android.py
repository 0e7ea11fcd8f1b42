"""An Android device that is played: an ``adb`` on the PATH, whose shell is this machine's.

Its ``pm``, ``am``, ``run-as``, ``pidof`` and ``getprop`` give the answers that a phone gave; the
app's benchmark "writes" the files that a test prepared.
"""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from hydraopt.profiling import adb, app
from hydraopt.profiling.outputs import expected_outputs

SERIAL = "R58"
COMMANDS = {
    "getprop": """case "$1" in
ro.product.manufacturer) echo Google;; ro.product.model) echo Pixel 8;;
ro.product.cpu.abi) echo arm64-v8a;; ro.build.version.release) echo 15;;
ro.build.version.sdk) cat "$SCRIPTED/sdk";; esac""",
    "nproc": "echo 9",
    "pm": """grep -qs . "$SCRIPTED/installed" || exit 1
echo package:/data/app/base.apk""",
    "run-as": """[ -s "$SCRIPTED/run-as" ] && { cat "$SCRIPTED/run-as" >&2; exit 1; }
shift; cd "$SCRIPTED/app" && exec "$@" """,
    "pidof": 'cat "$SCRIPTED/pid" 2>/dev/null',
    "am": """echo "$@" >> "$SCRIPTED/am-calls"
[ "$1" = start ] || exit 0
[ -s "$SCRIPTED/am" ] && { cat "$SCRIPTED/am"; exit 0; }
echo "Starting: Intent { cmp=io.hydraopt.demo/.benchmark.BenchmarkActivity (has extras) }"
echo "Status: ok"; echo Complete
cp -r "$SCRIPTED/app/files/benchmark" "$SCRIPTED/seen"
while [ $# -gt 0 ]; do [ "$1" = run_id ] && run="$2"; shift; done
[ -e "$SCRIPTED/results" ] || exit 0
cp "$SCRIPTED/logits" "$SCRIPTED/app/files/benchmark/logits"
sed "s/RUN_ID/$run/" "$SCRIPTED/results" > "$SCRIPTED/app/files/benchmark/results.json" """,
}
ADB = """[ "$1" = devices ] && { printf 'List of devices attached\\nR58\\tdevice\\n\\n'; exit 0; }
shift 2; command="$1"; shift
case "$command" in
push|pull) exec cp "$1" "$2";;
install) echo "$@" >> "$SCRIPTED/install-calls"
  [ -s "$SCRIPTED/install" ] && { cat "$SCRIPTED/install" >&2; exit 1; }
  echo yes > "$SCRIPTED/installed"; echo Success;;
shell) [ "$1" = -T ] && shift; PATH="$SCRIPTED/bin:$PATH" exec sh -c "$*";;
esac"""


class ScriptedPhone:
    """The played device; ``answer`` says what a command gives.

    Attributes:
        root: holds all that it has.
    """

    def __init__(self, root: Path):
        self.root = root
        self.answer("sdk", "35\n")
        self.answer("pid", "4711\n")
        self.answer("installed", "yes\n")
        (root / "app").mkdir()

    def answer(self, name: str, text: str) -> None:
        """What a command prints, or what it writes."""
        (self.root / name).write_text(text)

    def calls(self, command: str) -> list[str]:
        """With what a command was called."""
        path = self.root / f"{command}-calls"
        return path.read_text().splitlines() if path.exists() else []

    def measured(self, record: dict) -> None:
        """What the app writes as its results; ``RUN_ID`` becomes the run's id."""
        self.answer("results", json.dumps(record))

    def computes(self, bundle: Path, manifest, factor: float = 1) -> None:
        """The logits that the app writes: this machine's, times a factor."""
        expected = expected_outputs(bundle, manifest)
        logits = np.stack([task.logits.numpy() for task in expected.values()])
        (self.root / "logits").write_bytes((factor * logits).astype("<f4").tobytes())


@pytest.fixture
def phone(tmp_path, monkeypatch) -> ScriptedPhone:
    root = tmp_path / "scripted"
    (root / "bin").mkdir(parents=True)
    commands = {f"bin/{name}": text for name, text in COMMANDS.items()} | {"adb/adb": ADB}
    for name, text in commands.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(f"#!/bin/sh\n{text}\n")
        (root / name).chmod(0o755)
    monkeypatch.setenv("SCRIPTED", str(root))
    monkeypatch.setenv("PATH", f"{root}/adb:{os.environ['PATH']}")
    monkeypatch.setattr(adb, "ROOT", str(root / "tmp"))
    monkeypatch.setattr(adb, "CACHE", str(root / "tmp" / "cache"))
    monkeypatch.setattr(app, "POLL_SECONDS", 0.05)
    return ScriptedPhone(root)
