"""How figures look: small, quiet, and readable for the colour-blind and in grey."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil
from textwrap import fill
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8B6F47")
"""Of Okabe and Ito, who chose them so that everyone can tell them apart; brown instead of yellow: paper hides it."""

DASHES = ("-", "--", ":", "-.")
"""In turn where there are more lines than colours."""

PANEL, GAP = (2.3, 1.75), 0.3
"""Inches of a panel, and between panels."""

IN_A_ROW = 4

SETTINGS: Any = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "legend.fontsize": 7.5,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "lines.linewidth": 1.2,
    "legend.frameon": False,
    "text.parse_math": False,  # a label with dollar signs is no formula
    "pdf.fonttype": 42,  # text stays text
    "svg.fonttype": "none",
    "figure.constrained_layout.use": True,
}


@dataclass(frozen=True)
class Line:
    """How a method is drawn in every figure."""

    colour: str
    dashes: Any


def lines_of(methods: Sequence[str]) -> dict[str, Line]:
    """Every method with a colour of its own, or with dashes of its own where colours run out.

    >>> lines = lines_of([f"m{number}" for number in range(9)])
    >>> lines["m0"].colour == lines["m8"].colour, lines["m0"].dashes, lines["m8"].dashes
    (True, '-', '--')
    """
    return {
        method: Line(COLOURS[place % len(COLOURS)], DASHES[place // len(COLOURS) % len(DASHES)])
        for place, method in enumerate(methods)
    }


@contextmanager
def style() -> Iterator[None]:
    """In the block, figures are made in this style; after it, matplotlib's settings are as before."""
    with mpl.rc_context(SETTINGS):
        yield


LONGEST_LABEL = 32
"""Characters of a line beside a panel."""


def panels(titles: Sequence[str], *, x: str, y: str) -> tuple[Figure, list[Axes]]:
    """A figure with a panel for each title, at most four in a row.

    Args:
        x, y: labels of the axes.
    """
    rows = ceil(len(titles) / IN_A_ROW)
    columns = ceil(len(titles) / rows)
    figure = Figure(figsize=(columns * PANEL[0] + GAP, rows * PANEL[1] + 2 * GAP))
    axes = figure.subplots(rows, columns, sharey=True, sharex=True, squeeze=False).flatten()
    for place, panel in enumerate(axes):
        if place >= len(titles):
            panel.set_axis_off()
            continue
        panel.set_title(titles[place])
        panel.set_ylabel(fill(y, LONGEST_LABEL) if place % columns == 0 else "")
        lowest = place + columns >= len(titles)
        panel.set_xlabel(x if place >= len(axes) - columns else "")
        panel.tick_params(labelbottom=lowest)
        panel.grid(axis="y", linewidth=0.4, color="#dddddd")
        panel.set_axisbelow(True)
    return figure, list(axes[: len(titles)])


def as_shares(panel: Axes) -> None:
    """The axis begins at 0 and ends at 1 at the latest, whatever intervals reach beyond."""
    panel.set_ylim(-0.02, min(1.02, panel.get_ylim()[1]))


def legend_below(figure: Figure, methods: Sequence[str], lines: Mapping[str, Line]) -> None:
    """One legend for all panels."""
    handles = [Line2D([], [], color=lines[method].colour, linestyle=lines[method].dashes) for method in methods]
    width = max(map(len, methods)) * 0.065 + 0.5
    columns = max(1, min(len(methods), int(figure.get_figwidth() / width)))
    figure.legend(handles, methods, loc="outside lower center", ncols=columns)
