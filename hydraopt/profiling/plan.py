"""What one process of the runner does to measure a variant, and how its records are read."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from .variants import Variant


class Step(NamedTuple):
    """One sample: lines of a plan whose times are summed, and the metric that they give.

    Without a metric it is a warm-up or only has to be done.
    """

    metric: str
    lines: Sequence[str]


@dataclass(frozen=True)
class Workload:
    """How much of everything one process measures.

    Attributes:
        prompt: tokens of a prefill.
        tokens: decoded after each prefill.
        sequences: prefills.
        switches: among tasks of a bundle.
        reloads: of the variants that switch by loading again.
    """

    prompt: int
    tokens: int
    sequences: int = 3
    switches: int = 100
    reloads: int = 5

    @classmethod
    def fitting(cls, max_length: int, prefill_length: int, *, least: bool = False) -> "Workload":
        """What fits into a context, a prompt into one call; ``least`` where times mean nothing."""
        prompt = min(128, max_length // 2, prefill_length)
        tokens = min(32, max_length - prompt)
        return cls(min(prompt, 8), min(tokens, 4), 1, 100, 1) if least else cls(prompt, tokens)


def cold_plan(variant: Variant, threads: int) -> list[Step]:
    """Load once with nothing of the variant in the page cache."""
    return [
        Step("", [f"threads {threads}"]),
        Step("resident", [f"evict {' '.join(variant.files)}"]),
        Step("load_cold_ms", variant.load),
    ]


def warm_plan(variant: Variant, workload: Workload, threads: int) -> list[Step]:
    """Everything else: load, first inference, sequences, switches."""
    prompt = f"prefill {','.join(str(i) for i in range(1, workload.prompt + 1))}"
    sequence = [Step("prefill_ms", [prompt]), Step("decode_ms", [f"decode {workload.tokens}"])]
    single = f"prefill {workload.prompt}"
    plan = [
        Step("", [f"threads {threads}"]),
        Step("load_warm_ms", variant.load),
        Step("", variant.ready),
        Step("first_inference_ms", [prompt]),
        Step("", [f"decode {workload.tokens}"]),
        *sequence * workload.sequences,
    ]
    count = workload.reloads if variant.reloads else workload.switches
    order = [variant.switches[i % len(variant.switches)] for i in range(-2, count)]
    for index, switch in enumerate(order):
        measured = index >= 2  # the first two are for warming up
        plan.append(Step("swap" if measured else "", switch))
        plan.append(Step("first_token_ms" if measured else "", [single]))
        if index == 1:
            plan.append(Step("memory", ["memory"]))
    return [*plan, Step("memory", ["memory"])]


def trace_plan(variant: Variant, workload: Workload, trace: str) -> list[Step]:
    """One traced switch, and tokens one at a time."""
    return [
        Step("", ["threads 1"]),
        Step("", [f"trace {trace}"]),
        Step("", variant.load),
        Step("", variant.ready),
        Step("", ["prefill 1", f"decode {workload.tokens}"]),
    ]


def lines(plan: Sequence[Step]) -> list[str]:
    """The lines of a plan."""
    return [line for step in plan for line in step.lines]


def samples(plan: Sequence[Step], records: Sequence[Mapping]) -> dict[str, list[float]]:
    """Samples of every metric from a runner's records, one for each line of the plan."""
    metrics: dict[str, list[float]] = {}
    memory = []
    rest = iter(records)
    for step in plan:
        taken = [next(rest) for _ in step.lines]
        if step.metric == "memory":
            memory += taken
        elif step.metric:
            for metric, values in _values(step.metric, taken):
                metrics.setdefault(metric, []).extend(values)
    if memory:
        metrics["peak_bytes"] = [memory[-1]["peak"]]
        metrics["growth_bytes"] = [memory[-1]["resident"] - memory[0]["resident"]]
    return metrics


def _values(metric: str, records: Sequence[Mapping]) -> Iterator[tuple[str, list[float]]]:
    first = records[0]
    if "map_ms" in first:
        yield "swap_map_ms", [first["map_ms"]]
        yield "swap_decode_ms", [first["decode_ms"]]
        yield "swap_ms", [first["map_ms"] + first["decode_ms"]]
    elif "resident" in first:
        yield metric, [first["resident"]]
    elif isinstance(first["ms"], list):
        yield metric, first["ms"]
    else:
        name = "swap_ms" if metric == "swap" else metric
        yield name, [sum(record["ms"] for record in records)]
