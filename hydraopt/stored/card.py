"""What people read beside the weights of a set of adapters: a card and a heat map."""

from collections.abc import Mapping
from pathlib import Path

from ..shown import markdown, shell, visible

CARD, HEAT_MAP = "README.md", "errors.png"
MOST_CELLS = 40_000  # of a heat map that one can still read


def write_card(directory: Path, about: Mapping) -> None:
    """Write a README.md, and a heat map of the errors if they are known."""
    drawn = bool(about["errors"]) and len(about["errors"]) * len(about["modules"]) <= MOST_CELLS
    if drawn:
        draw_errors(about["errors"], about["modules"], directory / HEAT_MAP)
    (directory / CARD).write_text(_card(about, drawn), encoding="utf-8")


def _card(about: Mapping, drawn: bool) -> str:
    settings = ", ".join(f"{key} {value}" for key, value in about["settings"].items())
    base, tasks = about["base_model"], about["tasks"]
    share = about["stored_bytes"] / about["adapter_bytes"]
    lines = [
        f"# {len(tasks)} LoRA adapters of {markdown(base)}",
        "",
        f"Method: {markdown(about['method'])} ({markdown(settings)}). "
        f"Storage: {about['stored_bytes']:,} bytes, {share:.1%} of the adapters' fp16 bytes.",
        "",
        "```",
        "hydraopt info .",
        f"hydraopt unmerge . --task {shell(tasks[0])} -o adapter/   # back to PEFT",
        f"hydraopt export . --base {shell(base)} -o bundle/",
        "```",
        "",
        "Tasks: " + ", ".join(map(markdown, tasks)),
        "",
    ]
    if drawn:
        lines += [f"![relative error of the delta per module and task]({HEAT_MAP})", ""]
    return "\n".join(lines)


def draw_errors(errors: Mapping[str, Mapping[str, float]], modules: list[str], path: Path) -> None:
    """A heat map: tasks across, modules down; grey where a task lacks the module."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    grid = [[task.get(module, float("nan")) for task in errors.values()] for module in modules]
    size = (3 + 0.22 * len(errors), 1.5 + 0.18 * len(modules))
    figure, axes = pyplot.subplots(figsize=size, layout="constrained")
    axes.set_facecolor("lightgray")
    image = axes.imshow(grid, aspect="auto", cmap="viridis", vmin=0)
    plain = {"fontsize": 7, "parse_math": False}
    axes.set_xticks(range(len(errors)), labels=map(visible, errors), rotation=90, **plain)
    axes.set_yticks(range(len(modules)), labels=map(visible, modules), **plain)
    axes.set_title("relative error of the delta")
    figure.colorbar(image, ax=axes, shrink=0.8)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
