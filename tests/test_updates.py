"""A task goes to copies of its bundle as one small file, or is refused in one line."""

import itertools
import json
import os
import re
import shutil
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from command_line import fails, succeeds
from made_updates import (
    entries,
    foreign,
    hostile,
    openssl,
    rewritten,
    write_keys,
    write_updates,
)
from own_outputs import contents
from torch.testing import assert_close

from hydraopt import install_update
from hydraopt.bundles import add_task, remove_task
from hydraopt.errors import BundleError, HydraOptError, OutputError, TaskError, UsageError
from hydraopt.files import LIST
from hydraopt.formats.manifest import MANIFEST, Manifest
from hydraopt.formats.update import DOCUMENT, SIGNATURE
from hydraopt.runtime import Session

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:Duplicate name")]

CHANGES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link"}  # of the disk
PROMPT = [5, 17, 99, 200, 3]


@pytest.fixture(scope="module")
def keys(tmp_path_factory) -> Path:
    return write_keys(tmp_path_factory.mktemp("keys") / "keys")


@pytest.fixture(scope="module")
def updates(bundle, adapter_dirs, keys, tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("updates")
    return write_updates(bundle, adapter_dirs, keys / "mine.pem", root)


def logits(bundle: Path, task: str) -> torch.Tensor:
    session = Session.open(bundle)
    session.switch(task)
    return session.forward(PROMPT)


def test_a_copy_gets_what_the_bundle_got(updates, copied):
    found = install_update(copied, updates / "later.zip")
    assert (found.task, found.version) == ("later", 1)
    for name in (MANIFEST, LIST, "packs/later.pack"):
        assert (copied / name).read_bytes() == (updates / "with-later" / name).read_bytes()
    assert_close(logits(copied, "later"), logits(updates / "with-later", "later"))
    pack = (copied / "packs" / "later.pack").stat().st_size
    assert (updates / "later.zip").stat().st_size < pack + 2000


def test_updates_of_one_bundle_are_independent(updates, copied):
    before = contents(copied).keys()
    for name in ("other", "later", "later-2"):
        install_update(copied, updates / f"{name}.zip")
    manifest = Manifest.read(copied)
    assert manifest.tasks == ("alpha", "beta", "gamma", "other", "later")
    assert manifest.versions == {"later": 2}
    assert_close(logits(copied, "later"), logits(updates / "first", "later"))
    assert not (copied / "packs" / "later.pack").exists()  # of version 1
    remove_task(copied, "later")
    remove_task(copied, "other")
    assert contents(copied).keys() == before
    assert not Manifest.read(copied).versions


def test_an_open_session_keeps_its_tasks(updates, copied):
    session = Session.open(copied)
    session.switch("beta")
    wanted = session.forward(PROMPT)
    install_update(copied, updates / "later.zip")
    session.reset()
    assert_close(session.forward(PROMPT), wanted)
    session.switch("alpha")
    with pytest.raises(TaskError, match="no task 'later'"):
        session.switch("later")


def test_a_session_says_that_its_task_was_replaced(updates, copied):
    install_update(copied, updates / "later.zip")
    session = Session.open(copied)
    install_update(copied, updates / "later-2.zip")
    with pytest.raises(BundleError, match=r"later\.pack is gone, as after an update of its task"):
        session.switch("later")
    session.switch("alpha")
    assert_close(session.forward(PROMPT), logits(copied, "alpha"))


def test_what_is_installed_or_older_is_refused(updates, copied):
    install_update(copied, updates / "later.zip")
    with pytest.raises(TaskError, match=r"installed already: .* has version 1 of 'later'"):
        install_update(copied, updates / "later.zip")
    install_update(copied, updates / "later-2.zip")
    with pytest.raises(TaskError, match="version 1 of task 'later', older than 2 in"):
        install_update(copied, updates / "later.zip")


def test_what_does_not_belong_to_the_bundle_is_refused(updates, copied, other_bundle, tmp_path):
    before = contents(copied)
    for path, message in foreign(updates / "later.zip", tmp_path):
        with pytest.raises((BundleError, TaskError), match=re.escape(message)):
            install_update(copied, path)
    assert contents(copied) == before
    bundle = shutil.copytree(other_bundle, tmp_path / "foreign")
    with pytest.raises(BundleError, match=r"is for another bundle|is of another layout"):
        install_update(bundle, updates / "later.zip")


def test_what_is_damaged_or_hostile_is_refused(updates, copied, tmp_path):
    before = contents(copied)
    for path, message in hostile(updates / "later.zip", tmp_path):
        with pytest.raises(BundleError, match=message):
            install_update(copied, path)
    assert contents(copied) == before


def test_a_flipped_bit_is_refused_or_changes_nothing(updates, copied, tmp_path):
    before, content = contents(copied), (updates / "later.zip").read_bytes()
    target = tmp_path / "flipped.zip"
    for position in range(0, len(content), max(1, len(content) // 200)):
        flipped = bytearray(content)
        flipped[position] ^= 0x10
        target.write_bytes(flipped)
        try:  # the signature and the time of an entry say nothing of the task
            install_update(copied, target)
        except HydraOptError:
            assert contents(copied) == before
        else:
            pack = copied / "packs" / "later.pack"
            assert pack.read_bytes() == (updates / "with-later/packs/later.pack").read_bytes()
            remove_task(copied, "later")


def test_only_its_developers_updates_are_installed_with_a_key(updates, copied, keys, tmp_path):
    before = contents(copied)
    for name, key, error, message in [
        ("other", "mine.pub", BundleError, "other.zip is not signed, expected a signature"),
        ("later", "other.pub", BundleError, "later.zip is signed by another key"),
        ("later", "curve.pub", UsageError, "key of another kind, expected Ed25519"),
        ("later", "mine.pem", UsageError, "mine.pem is no public key"),
        ("later", "nowhere", UsageError, "nowhere cannot be read"),
    ]:
        with pytest.raises(error, match=message):
            install_update(copied, updates / f"{name}.zip", keys / key)
    changed = rewritten(updates / "later.zip", tmp_path / "changed.zip", version=9)
    with pytest.raises(BundleError, match="or was changed afterwards"):
        install_update(copied, changed, keys / "mine.pub")
    assert contents(copied) == before
    install_update(copied, updates / "later.zip", keys / "mine.pub")


def test_openssl_checks_a_signature(updates, keys, tmp_path):
    for name, content in entries(updates / "later.zip").items():
        (tmp_path / name).write_bytes(content)
    given = ("-pubin", "-inkey", keys / "mine.pub", "-sigfile", tmp_path / SIGNATURE)
    openssl("pkeyutl", "-verify", "-rawin", "-in", tmp_path / DOCUMENT, *given)


def test_an_update_is_written_with_the_bundle_or_not_at_all(copied, adapter_dirs, keys, tmp_path):
    before, delta = contents(copied), tmp_path / "update.zip"
    for options, error, message in [
        ({"sign": keys / "mine.pem"}, UsageError, "say where to write it"),
        ({"version": 0}, UsageError, "version is 0, expected 1 to"),
        ({"delta": delta, "sign": keys / "mine.pub"}, UsageError, "is no private key"),
        ({"delta": delta, "sign": keys / "curve.pem"}, UsageError, "another kind, expected Ed"),
        ({"delta": tmp_path}, OutputError, "exists already"),
        ({"delta": tmp_path / "nowhere" / "x"}, OutputError, "no directory"),
    ]:
        with pytest.raises(error, match=message):
            add_task(copied, str(adapter_dirs[0]), "later", **options)
    with pytest.raises(TaskError, match="already, of version 1"):
        add_task(copied, str(adapter_dirs[0]), "alpha", delta=delta)
    assert contents(copied) == before
    assert not delta.exists()


def kill_at(step: int) -> None:
    """End this process before its change of the disk of that number."""
    changes = itertools.count()

    def hook(event: str, arguments: tuple) -> None:
        new = event == "open" and arguments[2] & os.O_CREAT
        if (new or event in CHANGES) and next(changes) == step:
            os._exit(9)

    sys.addaudithook(hook)


def killed_at(step: int, bundle: Path, update: Path) -> bool:
    """Install an update in a process of its own; return whether it was killed."""
    pid = os.fork()
    if not pid:
        try:
            kill_at(step)
            install_update(bundle, update)
            os._exit(0)
        finally:
            os._exit(1)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert code in (0, 9)
    return code == 9


def files(directory: Path) -> dict[str, bytes]:
    """All files but the list, which after a kill names more than there is."""
    found = {str(path.relative_to(directory)): path.read_bytes() for path in contents(directory)}
    del found[LIST]
    return found


def test_a_kill_at_every_step_leaves_the_old_bundle_or_the_new_one(updates, bundle, tmp_path):
    """The next call completes the update, or says that it is there."""
    update = updates / "later.zip"
    old, new = Manifest.read(bundle), Manifest.read(updates / "with-later")
    found = []
    for step in itertools.count():
        copy = shutil.copytree(bundle, tmp_path / f"{step}")
        killed = killed_at(step, copy, update)
        found.append(Manifest.read(copy))
        found[-1].check_files(copy)
        there = pytest.raises(TaskError, match="installed already")
        with there if found[-1] == new else nullcontext():
            install_update(copy, update)
        assert files(copy) == files(updates / "with-later")
        if not killed:
            break
    assert len(found) > 15
    assert found == [old] * found.count(old) + [new] * found.count(new)
    assert found[0] == old


def test_on_the_command_line(copied, adapter_dirs, keys, tmp_path):
    shutil.copytree(copied, tmp_path / "phone")
    delta = tmp_path / "update.zip"
    options = ("--task", "later", "--version", 3, "--delta", delta, "--sign", keys / "mine.pem")
    assert "later" in succeeds("add", copied, adapter_dirs[0], *options)
    install = ("install", tmp_path / "phone", delta, "--public-key", keys / "mine.pub")
    assert json.loads(succeeds(*install, "--json")) == {"task": "later", "version": 3}
    assert "is installed already" in fails(*install)
    again = fails("add", copied, adapter_dirs[0], "--task", "later")
    assert again.endswith("(--version)\n")
