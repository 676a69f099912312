"""Which parameters mattered."""

from collections.abc import Mapping

from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from secondread.evaluation.figures.style import BLUE, INK, styled

_MOST = 15


@styled
def importance(importances: Mapping[str, float], objective: str) -> Figure:
    """Draw each parameter's share of what mattered, the largest first.

    Args:
        importances: shares that sum to 1, at least one.
        objective: what it mattered for.
    """
    found = sorted(importances.items(), key=lambda item: -item[1])[:_MOST]
    figure = Figure(figsize=(8.4, 1.5 + 0.36 * len(found)), layout="constrained")
    axes = figure.subplots()
    places = range(len(found))
    shares = [share for _, share in found]
    axes.barh(places, shares, height=0.62, color=BLUE)
    for place, share in zip(places, shares, strict=True):
        said = f"{share:.0%}" if share >= 0.005 else "under 1%"
        axes.text(share + 0.01 * max(shares), place, said, va="center", size=9, color=INK)
    axes.set(yticks=list(places), ylim=(len(found) - 0.4, -0.6), xlim=(0, 1.12 * max(shares)))
    axes.set_yticklabels([name for name, _ in found])
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.grid(axis="y", visible=False)
    axes.spines["left"].set_visible(False)
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set(xlabel=f"Share of what is explained of {objective}", title="What mattered")
    return figure
