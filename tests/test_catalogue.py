"""Wrong inputs of the catalogue: one line, nothing left behind, old outputs untouched.

A few hundred of all that ``make catalogue`` tries.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from catalogue.flips import flips
from catalogue.table import GROUPS, failures
from catalogue.world import build

pytestmark = pytest.mark.slow

MOST = 20  # cases of a group
KILLS = 3  # of a command


@pytest.fixture(scope="module")
def world(tmp_path_factory, bundle):
    return build(tmp_path_factory.mktemp("catalogue") / "world", bundle)


@pytest.mark.parametrize("group", GROUPS)
def test_a_wrong_input_is_one_line_and_changes_nothing(group, world, tmp_path):
    tried, failed = failures(group, world, tmp_path / "scratch", MOST)
    assert tried and not failed, "\n".join(failed)


def test_no_flipped_bit_of_a_manifest_is_accepted(world):
    tried, accepted = flips(world / "bundle", every=7)
    assert tried > 3000 and not accepted


def test_a_kill_at_any_moment_loses_nothing(world):
    """All but of an export, which takes as long as all others together."""
    writers = "merge,compress,add,remove,train"
    command = ["-m", "catalogue", "--world", world, "--kills", KILLS, "--writers", writers]
    paths = [Path(__file__).parent, Path(__file__).parents[1]]
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(re.findall(rf"^\w+ +{KILLS} +\d+ +\d+ +0$", done.stdout, re.MULTILINE)) == 5
