"""The README's own commands, run as they stand, and its figures beside the results."""

import json
import re
import subprocess
from inspect import signature
from pathlib import Path

import pytest
from command_line import succeeds
from figures import NUMBER, Speed, check_claim, check_table, results, tables
from PIL import Image
from random_adapters import random_adapters

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "README.md"
README = PAGE.read_text(encoding="utf-8")

QUALITY = {
    "separate adapters": ("unmerged", "unmerged"),
    "--budget 2%": ("budget", "2 %"),
    "--budget 5%": ("budget", "5 %"),
    "--budget 10%": ("budget", "10 %"),
    "plain int2": ("plain", "int2"),
    "plain int4": ("plain", "int4"),
    "averaged into one": ("average", "average"),
    "base model alone": ("base model", "base model"),
}
SPEED = {
    "ExecuTorch's export_llm, no adapters": "export_llm",
    "hydraopt, 16 random adapters (r = 16) on q, k, v, o at 5 %": "attention/5%",
    ".pte + .ptd, one adapter": "attention/ptd",
}
SERVERS = [Speed(f"smollm2{server}") for server in ("", "-older-server", "-newer-server")]
NAMES = (  # that have digits
    *("SmolLM2-135M-Instruct", "Llama 3.2 1B", "8da4w", "float32", "fp16", "llm_zoo"),
    r"\(.*?\)",  # links
)


def block(language: str) -> str:
    return re.search(rf"```{language}\n(.*?)```", README, re.DOTALL)[1]


def section(title: str) -> str:
    """The sentences of a section, without its tables and pictures."""
    text = re.search(rf"^## {title}\n(.*?)^## ", README, re.DOTALL | re.MULTILINE)[1]
    return re.sub(r"^(\||<img).*\n", "", text, flags=re.MULTILINE)


def check_no_other_number(text: str) -> None:
    assert NUMBER.findall(re.sub("|".join(NAMES), "", text)) == []


def test_the_table_of_quality_is_that_of_the_results():
    points = {(point["series"], point["label"]): point for point in results("llm/results.json")}
    shown = {
        row: {
            "bytes, relative to fp16": 100 * point["share"],
            "chrF": 100 * point["mean_chrf"],
            "S-score %": 100 * point["s_score"],
        }
        for row, point in ((row, points[key]) for row, key in QUALITY.items())
    }
    check_table(tables(PAGE)[0], shown)


def test_the_picture_is_drawn_from_the_results():
    with Image.open(ROOT / "docs" / "images" / "frontier.png") as picture:
        drawn = json.loads(picture.text["Description"])
    points = results("llm/results.json")
    assert drawn == [[100 * point["share"], 100 * point["s_score"]] for point in points]


def test_the_sentences_on_quality_are_those_of_the_program():
    program = results("llm/program.json")
    exact, quantized = program["none"], program["8da4w"]
    assert exact["program_chrf"] == exact["peft_chrf"] == quantized["peft_chrf"]
    text = section("Quality")
    text = check_claim(text, r"(\d+) adapters of SmolLM2", [len(exact["tasks"])])
    assert sum(task.startswith("ui-") for task in exact["tasks"]) == 8
    assert "UI strings in eight languages" in text
    share, chrf = 100 * program["share_of_fp16"], 100 * exact["peft_chrf"]
    pattern = r"the (\d+) % adapters reach chrF ([\d.]+) in PEFT"
    text = check_claim(text, pattern, [share, chrf])
    prompts = exact["of"] / len(exact["tasks"])
    text = check_claim(text, r"on (\d+) prompts a task", [prompts])
    text = check_claim(text, r"\((\d+) of (\d+) texts are", [exact["equal"], exact["of"]])
    ways = results("llm/rounding.json")["ways"]
    rounded = r"rounded for prompts, ([\d.]+) % by default, ([\d.]+) % without texts"
    pattern = rf"\*\*([\d.]+) % of the tokens\*\* right in float32 stay so if {rounded}"
    kept = [ways[x]["mean"]["s_tokens"] for x in ("prompts", "generated", "least squared error")]
    text = check_claim(text, pattern, kept)
    check_no_other_number(text)


def test_the_table_of_speed_is_that_of_the_results():
    speed = SERVERS[0]
    shown = {
        row: {
            "decode": speed.ms(program, "10"),
            "tokens/s": 1e3 / speed.ms(program, "10"),
            "prefill of 128": speed.ms(program, "prefill"),
            "peak memory": speed.mb(program, "peak_bytes"),
            "program": speed.mb(program, "bytes"),
            "switch": speed.switch(program)[:1],
        }
        for row, program in SPEED.items()
    }
    check_table(tables(PAGE)[1], shown)
    made = signature(random_adapters).parameters
    sizes = [made["tasks"].default, made["rank"].default]
    check_claim(README, r"(\d+) random adapters \(r = (\d+)\)", sizes)


def test_the_sentences_on_speed_are_those_of_the_results():
    text = section("Speed and memory")
    assert f"server ({SERVERS[0].machine})" in text and SERVERS[0].machine == "AMD EPYC"
    assert all("Intel" in server.machine for server in SERVERS[1:]) and "two Intel servers" in text
    for pattern, program in (
        (r"decode takes ([\d.]+) to ([\d.]+) times", "attention/5%"),
        (r"\.ptd ([\d.]+) to ([\d.]+) times", "attention/ptd"),
    ):
        ratios = [server.ratio(program, "10") for server in SERVERS]
        text = check_claim(text, pattern, [min(ratios), max(ratios)])
    llama = Speed("llama-1b")
    assert "Intel" in llama.machine
    name = "attention/5%"
    pattern = r"([\d.]+) times: ([\d.]+) tokens/s in ([\d,]+) MB"
    rate, memory = 1e3 / llama.ms(name, "10"), llama.mb(name, "peak_bytes")
    text = check_claim(text, pattern, [llama.ratio(name, "10"), rate, memory])
    check_no_other_number(text)


def transcript() -> list[tuple[str, list[str]]]:
    """The commands of the quickstart with the lines that the README shows of what they print."""
    parts = re.split(r"^\$ ", block("console"), flags=re.MULTILINE)[1:]
    return [(command, lines) for command, *lines in (part.splitlines() for part in parts)]


def alike(shown: str, printed: str) -> bool:
    """Whether two lines have equal words, and numbers that differ by a hundredth at most."""
    pairs = list(zip(shown.split(), printed.split(), strict=False))
    return len(shown.split()) == len(printed.split()) and all(
        a == b or near(a, b) for a, b in pairs
    )


def near(a: str, b: str) -> bool:
    numbers = [NUMBER.fullmatch(text) and float(text.replace(",", "")) for text in (a, b)]
    return all(numbers) and abs(numbers[0] / numbers[1] - 1) <= 0.01


def arguments(command: str) -> list[str]:
    """What a shell passes to ``hydraopt``."""
    shown = f"hydraopt() {{ printf '%s\\0' \"$@\"; }}\n{command}"
    return subprocess.check_output(["bash", "-c", shown], text=True).split("\0")[:-1]


@pytest.mark.slow
def test_the_quickstart_runs_and_prints_what_is_shown(tmp_path, monkeypatch, capsys):
    (tmp_path / "hydraopt").symlink_to(ROOT / "hydraopt")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    for command, shown in transcript():
        printed = succeeds(*arguments(command)).splitlines()
        for line in shown:
            assert line == "..." or any(alike(line, x) for x in printed), line
    capsys.readouterr()
    exec(block("python"), {})
    assert capsys.readouterr().out == "1.234,50\xa0€"
    assert (tmp_path / "money-de" / "adapter_config.json").exists()


def test_every_make_target_and_file_that_is_named_exists():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"make ([a-z]+)", README)) <= targets
    for image in re.findall(r"!\[.*?\]\((.*?)\)", README) + re.findall(r'src="(.*?)"', README):
        assert (ROOT / image).exists()
