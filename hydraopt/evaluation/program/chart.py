"""Plot an evaluation: a row of dots for each task."""

from io import BytesIO

from ...shown import visible
from .bundle import AGAINST, FLOAT, PROGRAM, Evaluation
from .scores import ACCURACY, TOKENS

TALLEST = 400  # inches; a PNG has at most 2**16 rows
AXES = {TOKENS: "answer tokens right, %", ACCURACY: "answers right, %"}
DOTS = {  # color, marker, size, filling and label
    FLOAT: ("tab:gray", "o", 9, "none", "float32 base, unmerged adapter"),
    AGAINST: ("tab:orange", "D", 5, "full", "other bundle"),
    PROGRAM: ("tab:blue", "o", 6, "full", "program"),
}


def chart(evaluation: Evaluation) -> bytes:
    """Draw a PNG: tasks from the best to the worst, and the mean of the program as a line."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    program = evaluation.scored[PROGRAM]
    tasks = sorted(program.tasks, key=lambda task: program.right[task])
    size = (7, min(1.6 + 0.24 * len(tasks), TALLEST))
    figure, axes = pyplot.subplots(figsize=size, layout="constrained")
    mean = 100 * program.means[program.measures[0]]
    axes.axvline(mean, color="tab:blue", lw=1, ls="--", label=f"program, mean {mean:.1f} %")
    for name, (color, marker, width, fill, label) in DOTS.items():
        if scored := evaluation.scored.get(name):
            shares = [100 * scored.right[task] for task in tasks]
            style = {"color": color, "marker": marker, "ms": width, "fillstyle": fill}
            axes.plot(shares, range(len(tasks)), ls="", label=label, **style)
    axes.set_yticks(range(len(tasks)), labels=map(visible, tasks), fontsize=8, parse_math=False)
    axes.set_ylim(-0.7, len(tasks) - 0.3)
    axes.margins(x=0.08)
    axes.set_xlim(right=min(axes.get_xlim()[1], 102))
    axes.set_xlabel(AXES[program.measures[0]])
    axes.grid(alpha=0.3)
    figure.legend(loc="outside upper center", ncols=2, fontsize=8)
    content = BytesIO()
    figure.savefig(content, format="png", dpi=130)
    pyplot.close(figure)
    return content.getvalue()
