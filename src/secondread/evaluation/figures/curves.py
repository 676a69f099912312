"""Training curves: every logged value over the epochs."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from secondread.evaluation.figures.style import BLUE, GREEN, INK, MUTED, VERMILION, styled
from secondread.evaluation.wording import readable

_SIDES = {"train": (BLUE, "training"), "val": (VERMILION, "validation")}
_TITLES = {"auroc": "AUROC"}
_COLUMNS = 2


@styled
def curves(history: pd.DataFrame, best_epoch: int) -> Figure:
    """Draw what was logged per epoch, a panel a metric, training and validation together, the kept epoch marked.

    Args:
        history: a row per epoch: `epoch`, and columns such as `train/loss`, `val/loss`, `val/auroc`, `learning_rate`.
        best_epoch: the value of `epoch` whose weights were kept.
    """
    panels = _panels(history)
    columns = min(_COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(4.6 * columns, 3.2 * rows + 0.4), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True).ravel()
    for axes, (metric, names) in zip(grid, panels.items(), strict=False):
        _panel(axes, history, metric, names, best_epoch)
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    for axes in grid[max(0, len(panels) - columns) : len(panels)]:
        axes.tick_params(labelbottom=True)
        axes.set_xlabel("Epoch")
    drawn = [axes.get_legend_handles_labels() for axes in grid]
    handles = {name: handle for found in drawn for handle, name in zip(*found, strict=True)}
    figure.legend(handles=list(handles.values()), loc="outside lower center", ncols=4)
    return figure


def _panels(history: pd.DataFrame) -> dict[str, list[str]]:
    """Columns by metric, the loss first and the learning rate last."""
    panels: dict[str, list[str]] = {}
    for name in history.columns:
        if name != "epoch" and history[name].notna().any():
            panels.setdefault(name.rsplit("/", 1)[-1], []).append(name)
    order = {"loss": -1, "learning_rate": 1}
    return dict(sorted(panels.items(), key=lambda panel: order.get(panel[0], 0)))


def _panel(axes: Axes, history: pd.DataFrame, metric: str, names: list[str], best_epoch: int) -> None:
    best = history["epoch"] == best_epoch
    axes.axvline(best_epoch, color=MUTED, linewidth=1, linestyle=(0, (4, 4)), label=f"kept: epoch {best_epoch}")
    for name in names:
        color, side = _SIDES.get(name.split("/")[0], (GREEN if metric != "learning_rate" else INK, readable(metric)))
        axes.plot(history["epoch"], history[name], color=color, label=side, marker="o", markersize=3)
        axes.plot(
            history["epoch"][best],
            history[name][best],
            "o",
            color=color,
            markersize=8,
            markeredgecolor="white",
            label="_the kept epoch, named once by its line",
        )
    if metric == "learning_rate":
        axes.set_yscale("log")
    axes.set_title(_TITLES.get(metric, readable(metric).capitalize()))
    axes.set_xlim(history["epoch"].min() - 0.5, history["epoch"].max() + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
