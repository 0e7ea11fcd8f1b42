"""A picture of the relative errors of a set of adapters: tasks across, modules down."""

from io import BytesIO
from typing import TYPE_CHECKING

from ..shown import visible

if TYPE_CHECKING:
    from ..stored import StoredAdapters

MOST_CELLS = 40_000  # that one can still read


def heat_map(stored: "StoredAdapters") -> bytes | None:
    """A PNG, grey where a task lacks the module; None if no errors are known, or too many."""
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
