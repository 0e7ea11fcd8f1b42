"""The Android app without a phone: tests of ``android_demo/host/app``, which Maven ran.

Its presenter ran on the plain JVM and its screen in Robolectric, both on the real library, real
programs and the real ExecuTorch runtime. Pictures were drawn on the way; ``make screenshots`` keeps
those that the README shows.
"""

import re

import pytest
from android_host import DEMO, HOST, check_passed

pytestmark = [pytest.mark.android, pytest.mark.slow]

TESTS = sorted(path.stem for path in (HOST / "app" / "src" / "test").rglob("*Test.kt"))
PICTURES = DEMO.parent / "docs" / "images" / "android"


@pytest.mark.parametrize("name", TESTS)
def test_on_a_jvm(android, name):
    check_passed(android.report("app", name))


def test_pictures_are_those_of_the_app(android):
    drawn = HOST / "app" / "target" / "screenshots"
    kept = {path.name for path in PICTURES.glob("*.png")}
    assert kept and kept <= {path.name for path in drawn.glob("*.png")}
    readme = (DEMO / "README.md").read_text()
    assert set(re.findall(r"docs/images/android/([\w-]+\.png)", readme)) == kept
