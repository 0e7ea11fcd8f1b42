"""Scripts for the runner, one per process, and the samples in its records."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from .variants import Variant


class Section(NamedTuple):
    """Commands of a script whose times add up to one sample of ``metric``.

    Without a metric they are a warm-up or preparation.
    """

    metric: str
    commands: Sequence[str]


@dataclass(frozen=True)
class Workload:
    """How much one process measures.

    Attributes:
        prompt: tokens per prefill.
        tokens: tokens decoded after each prefill.
        sequences: number of prefills.
        switches: task switches of a bundle.
        reloads: task switches of a variant that reloads its program for each.
    """

    prompt: int
    tokens: int
    sequences: int = 3
    switches: int = 100
    reloads: int = 5

    @classmethod
    def fitting(cls, max_length: int, prefill_length: int, *, least: bool = False) -> "Workload":
        """Return the workload for a KV cache and prefill of these lengths, in tokens.

        Args:
            max_length: length of the KV cache.
            prefill_length: most tokens in one call.
            least: as little as possible, for devices whose times mean nothing.
        """
        prompt = min(128, max_length // 2, prefill_length)
        tokens = min(32, max_length - prompt)
        return cls(min(prompt, 8), min(tokens, 4), 1, 100, 1) if least else cls(prompt, tokens)


def cold_script(variant: Variant, threads: int) -> list[Section]:
    """Load a variant once, with none of its files in the page cache."""
    return [
        Section("", [f"threads {threads}"]),
        Section("resident", [f"evict {' '.join(variant.files)}"]),
        Section("load_cold_ms", variant.load),
    ]


def warm_script(variant: Variant, workload: Workload, threads: int) -> list[Section]:
    """Measure everything else: warm load, first inference, sequences, switches."""
    prompt = f"prefill {','.join(str(i) for i in range(1, workload.prompt + 1))}"
    decode = f"decode {workload.tokens}"
    sequence = [Section("prefill_ms", [prompt]), Section("decode_ms", [decode])]
    single = f"prefill {workload.prompt}"
    script = [
        Section("", [f"threads {threads}"]),
        Section("load_warm_ms", variant.load),
        Section("", variant.ready),
        Section("first_inference_ms", [prompt]),
        Section("", [decode]),
        *sequence * workload.sequences,
    ]
    count = workload.reloads if variant.reloads else workload.switches
    order = [variant.switches[i % len(variant.switches)] for i in range(-2, count)]
    for index, switch in enumerate(order):
        measured = index >= 2  # the first two warm up
        script.append(Section("swap" if measured else "", switch))
        script.append(Section("first_token_ms" if measured else "", [single]))
        if index == 1:
            script.append(Section("memory", ["memory"]))
    return [*script, Section("memory", ["memory"])]


def trace_script(variant: Variant, workload: Workload, trace: str) -> list[Section]:
    """Trace one switch and a few single tokens into the file ``trace``."""
    return [
        Section("", ["threads 1"]),
        Section("", [f"trace {trace}"]),
        Section("", variant.load),
        Section("", variant.ready),
        Section("", ["prefill 1", f"decode {workload.tokens}"]),
    ]


def commands(script: Sequence[Section]) -> list[str]:
    """Return the commands of all sections, in order."""
    return [command for section in script for command in section.commands]


def samples(script: Sequence[Section], records: Sequence[Mapping]) -> dict[str, list[float]]:
    """Return each metric's samples, from the runner's records (one per command of ``script``)."""
    metrics: dict[str, list[float]] = {}
    memory = []
    rest = iter(records)
    for section in script:
        taken = [next(rest) for _ in section.commands]
        if section.metric == "memory":
            memory += taken
        elif section.metric:
            for metric, values in _values(section.metric, taken):
                metrics.setdefault(metric, []).extend(values)
    if memory:
        metrics["peak_bytes"] = [memory[-1]["peak"]]
        metrics["growth_bytes"] = [memory[-1]["resident"] - memory[0]["resident"]]
    return metrics


def _values(metric: str, records: Sequence[Mapping]) -> Iterator[tuple[str, list[float]]]:
    first = records[0]
    if "map_ms" in first:
        yield "swap_map_ms", [first["map_ms"]]
        yield "swap_unpack_ms", [first["unpack_ms"]]
        yield "swap_ms", [first["map_ms"] + first["unpack_ms"]]
    elif "resident" in first:
        yield metric, [first["resident"]]
    elif isinstance(first["ms"], list):
        yield metric, first["ms"]
    else:
        name = "swap_ms" if metric == "swap" else metric
        yield name, [sum(record["ms"] for record in records)]
