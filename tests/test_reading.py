"""Reading what others wrote: files that are none, JSON that is a trap, hubs that keep silent."""

import socket
import time

import pytest
from huggingface_hub import constants

from hydraopt.hub import fetched
from hydraopt.reading import MissingError, UnreadableError, check_regular, file_text, json_value


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not JSON"),
        ("[" * 100_000, "nested too deep"),
        ("9" * 400, "a number of 400 digits"),
        ("1e999", "not a finite number"),
        ("-Infinity", "not a JSON number"),
        ('"\\ud800"', "lone surrogate"),
        ('"\\udc00\\ud800"', "lone surrogate"),
        ('"\\u００４１"', "not JSON"),
    ],
)
def test_json_that_breaks_its_reader_is_refused(text, reason):
    with pytest.raises(UnreadableError, match=reason):
        json_value(text)


def test_all_other_json_is_read():
    text = '{"a": [1, -2.5e-3, "\\ud83d\\ude42", null]}'
    assert json_value(text) == {"a": [1, -0.0025, "🙂", None]}


def test_only_regular_files_of_a_sane_size_are_opened(tmp_path):
    (tmp_path / "file").write_bytes(b"\xff" * 10)
    with pytest.raises(UnreadableError, match="10 bytes, expected at most 9"):
        check_regular(tmp_path / "file", 9)
    with pytest.raises(UnreadableError, match="not UTF-8 at byte 0"):
        file_text(tmp_path / "file")
    with pytest.raises(MissingError):
        file_text(tmp_path / "none")
    for path in (tmp_path, tmp_path / "/dev/zero"):
        with pytest.raises(UnreadableError, match="not a regular file"):
            file_text(path)


def test_a_hub_that_keeps_silent_is_not_waited_for(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        monkeypatch.setattr("hydraopt.hub.SECONDS", 0.5)
        start = time.monotonic()
        with pytest.raises(UnreadableError):
            fetched("some/adapter", ["adapter_config.json"])
        assert time.monotonic() - start < 30
        assert not constants.HF_HUB_OFFLINE
