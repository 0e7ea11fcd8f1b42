"""Heat map of relative errors: tasks as columns, modules as rows."""

from io import BytesIO
from typing import TYPE_CHECKING

from ..shown import visible

if TYPE_CHECKING:
    from ..stored import StoredAdapters

MOST_CELLS = 40_000  # readable


def heat_map(stored: "StoredAdapters") -> bytes | None:
    """Draw a PNG, grey where a task lacks a module; None without errors or with too many cells."""
    errors, modules = stored.errors, list(stored.modules)
    if not 0 < len(errors) * len(modules) <= MOST_CELLS:
        return None
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
    content = BytesIO()
    figure.savefig(content, format="png", dpi=110)
    pyplot.close(figure)
    return content.getvalue()
