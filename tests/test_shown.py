"""Names that others chose mean nothing to a terminal, a shell, Markdown or HTML."""

import contextlib
import io
import json
import logging
import os
import pty
import subprocess
import sys
from html.parser import HTMLParser
from unittest import mock

import pytest
from command_line import fails, succeeds
from conftest import save_adapter
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from test_profile_results import result

from hydraopt.cli import main
from hydraopt.cli.app import Visible
from hydraopt.cli.report import print_json
from hydraopt.cli.run import show
from hydraopt.profiling.page import write_report
from hydraopt.runtime import Sampling, Session
from hydraopt.shown import html, markdown, shell, visible

HOSTILE = (
    "a [bold]b[/] :smile: $(touch pwned) `id` <b>c</b> | *d* _e_ ~~f~~ q_proj $g$ \\ &amp; 'h'"
)
ESCAPES = "\x1b]0;title\x07\x1b[31mred\x9b2J\u202etxt\n\r\b\ud800"
VISIBLE = r"\x1b]0;title\x07\x1b[31mred\x9b2J\u202etxt\n\r\x08\ud800"

COMMANDS = """\
info {0}/alpha --json
compress {0}/alpha -o {0}/c --budget 50% --json
merge {0}/alpha -o {0}/m --method average --json
info {0}/c --json
info {0}/m --json
methods --json
"""

names = st.text(st.characters(codec="utf-8"), max_size=40)


class Texts(HTMLParser):
    """The text of a page, and its tags."""

    def __init__(self, page):
        super().__init__()
        self.text, self.tags = "", []
        self.feed(page)
        self.close()

    def handle_data(self, data):
        self.text += data

    def handle_starttag(self, tag, attributes):
        self.tags += [tag, *attributes]


def test_control_characters_are_visible_and_all_others_stay():
    assert visible(ESCAPES) == VISIBLE
    assert visible("a\tb\nc\x1b", keep="\n\t") == "a\tb\nc\\x1b"
    for text in (HOSTILE, "Grüße, 世界 مرحبا می‌خواهم 👩‍👩‍👧"):
        assert visible(text) == text


@settings(max_examples=20, deadline=None)  # each starts a shell
@given(names)
def test_a_shell_takes_any_name_as_one_word(name):
    done = subprocess.run(
        ["sh", "-c", f"printf %s {shell(name)}"], capture_output=True, check=True, timeout=60
    )
    assert done.stdout.decode() == visible(name)


@given(names)
@example("__0__")
def test_markdown_and_html_show_any_name_as_it_is(name):
    page = MarkdownIt("gfm-like", {"linkify": False}).render(f"| x{markdown(name)}y |\n|---|\n")
    shown = Texts(page)
    assert "".join(shown.text.split()) == "".join(f"x{visible(name)}y".split())
    assert shown.tags == ["table", "thead", "tr", "th"]
    shown = Texts(f'<p title="{html(name)}">{html(name)}</p>')
    assert shown.text == visible(name)
    assert shown.tags == ["p", ("title", visible(name))]


def test_a_card_is_harmless_to_copy_from(tmp_path):
    save_adapter(tmp_path / "alpha", base_id=HOSTILE + ESCAPES.strip("\ud800"))
    succeeds("compress", tmp_path / "alpha", "-o", tmp_path / "c", "--budget", "50%")
    card = (tmp_path / "c" / "README.md").read_text(encoding="utf-8")
    page = MarkdownIt("gfm-like", {"linkify": False}).render(card)
    shown = Texts(page)
    assert {*shown.tags} <= {"h1", "p", "pre", "code", "img"} | {
        x for x in shown.tags if isinstance(x, tuple) and x[0] in ("src", "alt")
    }
    assert f"adapters of {HOSTILE}" in shown.text
    assert "\x1b" not in card
    _, commands, _ = card.split("```")
    script = f"hydraopt() {{ printf '%s\\n' \"$@\"; }}\n{commands}"
    done = subprocess.run(
        ["sh", "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path, timeout=60
    )
    assert HOSTILE + visible(ESCAPES.strip("\ud800")) in done.stdout.splitlines()
    assert {path.name for path in tmp_path.iterdir()} == {"alpha", "c"}


def test_a_profile_shows_a_devices_name_as_it_is(tmp_path):
    device = result()["device"] | {"model": HOSTILE + ESCAPES.strip("\ud800")}
    write_report(result(device=device), tmp_path / "report")
    page = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    text = (tmp_path / "report" / "report.md").read_text(encoding="utf-8")
    for shown in (Texts(page), Texts(MarkdownIt("gfm-like", {"linkify": False}).render(text))):
        assert shown.text.count(HOSTILE) == 2  # headline and table
        assert "b" not in shown.tags
        assert "\x1b" not in shown.text


def test_tables_errors_and_logs_show_names_as_they_are(tmp_path):
    save_adapter(tmp_path / "alpha", base_id=f"{HOSTILE}\x1b[31m")
    shown = succeeds("info", tmp_path / "alpha")
    assert "\x1b" not in shown
    flat = "".join(x.strip() for x in shown.splitlines()).replace(" ", "")
    assert f"{HOSTILE}\\x1b[31m".replace(" ", "") in flat
    assert fails("info", tmp_path / "\x1b[31m:smile:[bold]").startswith(
        f"error: {tmp_path}/\\x1b[31m:smile:[bold] is not an adapter"
    )
    record = logging.LogRecord("hydraopt", logging.INFO, "", 0, "a %s", ("\x1b[31m",), None)
    assert Visible("%(message)s").format(record) == "a \\x1b[31m"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_json_is_json_on_any_terminal(monkeypatch, encoding):
    record = {"ü": "Grüße 世界 👩‍👩‍👧 \x7f\x9b2J\ud800", "n": [1.5, None, {}]}
    written = io.BytesIO()
    stream = io.TextIOWrapper(written, encoding=encoding, errors="backslashreplace")
    monkeypatch.setattr(sys, "stdout", stream)
    print_json(record | {"n": (1.5, float("nan"), {})})
    stream.flush()
    text = written.getvalue().decode(encoding)
    assert json.loads(text) == record
    assert visible(text, keep="\n") == text
    assert ("ü" in text) == (encoding != "ascii")
    assert ("世" in text) == (encoding == "utf-8")


def test_every_command_prints_json_on_a_terminal_of_ascii(tmp_path):
    save_adapter(tmp_path / "alpha", base_id="Grüße 世界")
    records = []
    for line in COMMANDS.splitlines():
        written = io.BytesIO()
        terminal = io.TextIOWrapper(written, encoding="ascii")
        with mock.patch.object(sys, "argv", ["hydraopt", *line.format(tmp_path).split()]):
            with contextlib.redirect_stdout(terminal), contextlib.suppress(SystemExit):
                main()
        terminal.flush()
        records.append(json.loads(written.getvalue().decode("ascii")))
    assert [x["base_model"] for x in records if "base_model" in x] == ["Grüße 世界"] * 5


@pytest.mark.slow
def test_a_text_on_a_terminal_cannot_command_it(bundle, monkeypatch, capsys):
    """What the tiny model writes is random bytes; through a pipe they stay as they are."""
    session = Session.open(bundle)
    session.switch("beta")
    prompt = session.encode("hi")
    for seed in range(50):
        wild = Sampling(9.0, seed=seed)
        show(session, prompt, 24, wild, "text", ())
        piped = capsys.readouterr().out
        if "\x1b" in piped:
            break
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w", encoding="utf-8") as terminal, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", terminal)
        show(session, prompt, 24, wild, "text", ())
    shown = os.read(ours, 10_000).decode().replace("\r\n", "\n")
    os.close(ours)
    assert shown == visible(piped, keep="\n\t") != piped
