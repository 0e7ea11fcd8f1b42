"""What lies beside the weights in a merged directory: ``merged.json``, a card and a heat map."""

from collections.abc import Mapping
from pathlib import Path

from ..adapters import TASK_NAME
from ..files import read_versioned_json, write_json

FORMAT_VERSION = 1
DESCRIPTION, CARD, HEAT_MAP = "merged.json", "README.md", "errors.png"
MOST_CELLS = 40_000  # of a heat map that one can still read


def read_description(directory: Path) -> dict:
    """The content of ``merged.json``.

    Raises:
        BundleError: it is missing, damaged or of another format version.
    """
    return read_versioned_json(
        directory / DESCRIPTION, FORMAT_VERSION, "hydraopt compress or merge"
    )


def check_names(about: Mapping) -> None:
    """Raise ``ValueError`` if the task names cannot be file names, or there are no modules."""
    if not all(TASK_NAME.fullmatch(task) for task in about["tasks"]) or not about["modules"]:
        raise ValueError(f"unusable task names or no modules in {DESCRIPTION}")


def write_description(directory: Path, about: Mapping) -> None:
    """Write ``merged.json``, a README.md, and a heat map of the errors if they are known."""
    write_json(directory / DESCRIPTION, {"format_version": FORMAT_VERSION, **about})
    drawn = bool(about["errors"]) and len(about["errors"]) * len(about["modules"]) <= MOST_CELLS
    if drawn:
        draw_errors(about["errors"], about["modules"], directory / HEAT_MAP)
    (directory / CARD).write_text(_card(about, drawn), encoding="utf-8")


def _card(about: Mapping, drawn: bool) -> str:
    settings = ", ".join(f"{key} {value}" for key, value in about["settings"].items())
    share = about["stored_bytes"] / about["adapter_bytes"]
    lines = [
        f"# {len(about['tasks'])} LoRA adapters of {about['base_model']}, merged",
        "",
        f"Method: {about['method']} ({settings}). "
        f"Storage: {about['stored_bytes']:,} bytes, {share:.1%} of the adapters' fp16 bytes.",
        "",
        "```",
        "hydraopt info .",
        f"hydraopt unmerge . --task {about['tasks'][0]} -o adapter/   # back to PEFT",
        f"hydraopt export . --base {about['base_model']} -o bundle/",
        "```",
        "",
        "Tasks: " + ", ".join(about["tasks"]),
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
    axes.set_xticks(range(len(errors)), labels=list(errors), rotation=90, fontsize=7)
    axes.set_yticks(range(len(modules)), labels=modules, fontsize=7)
    axes.set_title("relative error of the delta")
    figure.colorbar(image, ax=axes, shrink=0.8)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
