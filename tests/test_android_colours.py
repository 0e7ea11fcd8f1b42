"""Contrasts in the sample app, computed from its resources: WCAG 2.2's, 1.4.3 and 1.4.11."""

from pathlib import Path
from xml.etree import ElementTree

import pytest

RESOURCES = Path(__file__).resolve().parents[1] / "android_demo" / "app" / "src" / "main" / "res"
ANDROID = "{http://schemas.android.com/apk/res/android}"
MODES = {"light": ("values",), "dark": ("values", "values-night")}
TEXT, PART = 4.5, 3.0  # least contrasts of texts, and of what shows a control and its state
WHITE, BLACK = "#FFFFFF", "#000000"
# text and what is behind it
TEXTS = [
    ("text", "background"),
    ("text", "card"),
    ("text", "tile"),
    ("text_secondary", "background"),
    ("text_secondary", "card"),
    ("text_secondary", "tile"),
    ("primary", "card"),
    ("on_primary", "primary"),
    ("on_error", "error"),
]


def parse(name: str) -> ElementTree.Element:
    return ElementTree.parse(RESOURCES / name).getroot()


def colours(mode: str) -> dict[str, str]:
    """Colours of a mode, ``#RRGGBB`` by name."""
    found = {}
    for folder in MODES[mode]:
        found |= {x.get("name"): x.text for x in parse(f"{folder}/colors.xml")}
    return found


def style(name: str, *files: str) -> dict[str, str]:
    """Attributes that a style sets, later files above earlier ones, its own parents below it."""
    defined = {x.get("name"): x for file in files for x in parse(file).iter("style")}
    if name not in defined:
        return {}
    parent = defined[name].get("parent", name.rpartition(".")[0])
    own = {x.get("name").removeprefix("android:"): x.text for x in defined[name]}
    return style(parent, *files) | own


def named(reference: str) -> str:
    return reference.removeprefix("@color/")


def luminance(colour: str) -> float:
    shares = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in shares]
    return sum(x * y for x, y in zip(linear, (0.2126, 0.7152, 0.0722), strict=True))


def contrast(one: str, other: str) -> float:
    darker, lighter = sorted(map(luminance, (one, other)))
    return (lighter + 0.05) / (darker + 0.05)


def test_contrasts_are_those_of_the_standard():
    assert contrast(WHITE, BLACK) == pytest.approx(21)
    assert contrast("#777777", WHITE) == pytest.approx(4.48, abs=0.005)  # its known near miss


@pytest.mark.parametrize("mode", MODES)
def test_texts_can_be_read(mode):
    found = colours(mode)
    contrasts = {(x, y): contrast(found[x], found[y]) for x, y in TEXTS}
    assert not {pair: value for pair, value in contrasts.items() if value < TEXT}


@pytest.mark.parametrize("mode", MODES)
def test_fields_and_their_hints_can_be_seen(mode):
    found, hint = colours(mode), style("Field", "values/styles.xml")["textColorHint"]
    shapes = list(parse("drawable/field.xml").iter("shape"))
    assert len(shapes) == 2  # with and without the focus
    for shape in shapes:
        fill, outline = (
            found[named(shape.find(part).get(f"{ANDROID}color"))] for part in ("solid", "stroke")
        )
        assert fill == found["card"]  # which is around the field, too
        assert contrast(outline, fill) >= PART
        assert contrast(found[named(hint)], fill) >= TEXT


@pytest.mark.parametrize(
    ("mode", "files"),
    [
        ("light", ("values/themes.xml",)),  # Android 8.0
        ("light", ("values/themes.xml", "values-v27/themes.xml")),
        ("dark", ("values/themes.xml", "values-v27/themes.xml", "values-night/themes.xml")),
    ],
)
def test_icons_of_the_systems_bars_can_be_seen(mode, files):
    """They are black on a bar that is called light and otherwise white; a bar is black if unset."""
    found, theme = colours(mode), style("App", *files)
    for bar, is_light in (
        ("statusBarColor", "windowLightStatusBar"),
        ("navigationBarColor", "windowLightNavigationBar"),
    ):
        icons = BLACK if theme.get(is_light) == "true" else WHITE
        colour = found[named(theme[bar])] if bar in theme else BLACK
        assert contrast(icons, colour) >= PART, (bar, colour)
