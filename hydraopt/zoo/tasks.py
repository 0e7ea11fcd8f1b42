"""The zoo's tasks: 5 applications x 8 languages with ground truth from Unicode CLDR.

A task is named ``application-language``, such as ``money-de`` with the prompt
``"money 1234.50 EUR="`` and the answer ``"1.234,50 €"``. The base model was trained on the same
applications in eight *other* languages, with the language in front of the prompt.
"""

import random
import zlib
from collections.abc import Iterator
from datetime import date, timedelta

from babel.dates import format_date, format_timedelta
from babel.numbers import format_currency
from babel.units import format_unit
from num2words import num2words

LANGUAGES = ("en", "de", "fr", "es", "it", "pt", "nl", "pl")
BASE_LANGUAGES = ("sv", "da", "ro", "cs", "hu", "fi", "tr", "id")
UNITS = (
    "length-kilometer",
    "length-meter",
    "mass-kilogram",
    "volume-liter",
    "duration-hour",
    "duration-minute",
    "temperature-celsius",
    "speed-kilometer-per-hour",
)
CURRENCIES = ("EUR", "USD", "GBP", "JPY")
PERIODS = {"minute": 60, "hour": 3600, "day": 86400, "week": 604800}


def _date(rng: random.Random, language: str) -> tuple[str, str]:
    day = date(1950, 1, 1) + timedelta(days=rng.randrange(36500))
    return day.isoformat(), format_date(day, "long", locale=language)


def _money(rng: random.Random, language: str) -> tuple[str, str]:
    amount = rng.randrange(1, 10 ** rng.randrange(3, 8)) / 100
    currency = rng.choice(CURRENCIES)
    return f"{amount:.2f} {currency}", format_currency(amount, currency, locale=language)


def _words(rng: random.Random, language: str) -> tuple[str, str]:
    number = rng.randrange(10 ** rng.randrange(1, 5))
    return str(number), num2words(number, lang=language)


def _delta(rng: random.Random, language: str) -> tuple[str, str]:
    count = rng.choice((-1, 1)) * rng.randrange(1, 10 ** rng.randrange(1, 4))
    period = rng.choice(tuple(PERIODS))
    answer = format_timedelta(
        timedelta(seconds=count * PERIODS[period]),
        granularity=period,
        threshold=float("inf"),  # keep the prompt's unit
        add_direction=True,
        locale=language,
    )
    return f"{count} {period}", answer


def _unit(rng: random.Random, language: str) -> tuple[str, str]:
    value = rng.randrange(1, 5000) / rng.choice((1, 1, 10))
    unit = rng.choice(UNITS)
    return f"{value:g} {unit.split('-', 1)[1]}", format_unit(value, unit, locale=language)


APPLICATIONS = {"date": _date, "money": _money, "words": _words, "delta": _delta, "unit": _unit}
TASKS = tuple(f"{app}-{language}" for app in APPLICATIONS for language in LANGUAGES)


def held_out(question: str) -> bool:
    """Return whether an input belongs to the test set: one in eight, by hash.

    Inputs of one or two characters stay in the training set: all other numbers are composed of
    these digits and tens.
    """
    return len(question) > 2 and zlib.crc32(question.encode()) % 8 == 0


def examples(
    application: str, language: str, rng: random.Random, *, test: bool = False, tag: str = ""
) -> Iterator[tuple[str, str]]:
    """Yield endless (prompt, answer) pairs of one task, from the training or test inputs."""
    make = APPLICATIONS[application]
    while True:
        question, answer = make(rng, language)
        if held_out(question) == test:
            yield f"{tag}{application} {question}=", answer


def test_examples(task: str, count: int) -> list[tuple[str, str]]:
    """Return the first ``count`` distinct test pairs of ``task``, deterministically."""
    return _distinct(task, count, test=True)


def training_examples(task: str, count: int) -> list[tuple[str, str]]:
    """Return the first ``count`` distinct training pairs of ``task``, deterministically."""
    return _distinct(task, count, test=False)


def _distinct(task: str, count: int, *, test: bool) -> list[tuple[str, str]]:
    application, language = task.split("-")
    pairs: dict[str, str] = {}
    for prompt, answer in examples(application, language, random.Random(task), test=test):
        pairs.setdefault(prompt, answer)
        if len(pairs) == count:
            return list(pairs.items())
    raise AssertionError("unreachable: examples() is endless")
