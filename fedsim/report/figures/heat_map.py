"""A table attack x aggregator as colours."""

from __future__ import annotations

from math import isnan, nan
from typing import Any

import matplotlib as mpl
import matplotlib.colors
import numpy as np
from matplotlib.figure import Figure

from fedsim.report.tables import WORST, Field, Table

CELL = (0.62, 0.27)
"""Inches of a field."""

COLOUR_MAP = "Blues"
"""One hue from pale to dark: the same for everyone, and on grey paper."""


def heat_map_figure(table: Table, label: str, *, share: bool, lower_is_better: bool) -> Figure:
    """The figure: the mean in each field, what is not done or diverged in grey.

    Args:
        share: whether values lie between 0 and 1; colours then mean the same in every figure.
    """
    values = np.array([[_shown(table.fields[row, column]) for column in table.columns] for row in table.rows])
    longest = max(map(len, table.rows))
    turned = max(map(len, table.columns)) > 9
    height = len(table.rows) * CELL[1] + (0.075 * max(map(len, table.columns)) if turned else 0.3) + 0.3
    figure = Figure(figsize=(len(table.columns) * CELL[0] + 0.075 * longest + 0.9, height))
    panel = figure.subplots()
    colours = mpl.colormaps[f"{COLOUR_MAP}_r" if lower_is_better else COLOUR_MAP].with_extremes(bad="#e4e4e4")
    known = values[~np.isnan(values)]
    low, high = (0.0, 1.0) if share else (known.min(), known.max()) if known.size else (0.0, 1.0)
    shade: Any = mpl.colors.Normalize(low, high)
    image = panel.imshow(np.ma.masked_invalid(values), cmap=colours, norm=shade, aspect="auto")
    for y, row in enumerate(table.rows):
        for x, column in enumerate(table.columns):
            entry = table.fields[row, column]
            value = _shown(entry)
            text = entry.remark if isnan(value) else f"{value:.3f}{'*' if entry.states else ''}"
            dark = not isnan(value) and _is_dark(colours(float(shade(value))))
            size = 6.5 if len(text) < 9 else 5
            panel.text(x, y, text, ha="center", va="center", color="white" if dark else "black", fontsize=size)
    panel.set_xticks(
        range(len(table.columns)), table.columns, rotation=40 if turned else 0, ha="left" if turned else "center"
    )
    panel.set_yticks(range(len(table.rows)), table.rows)
    panel.tick_params(length=0, labelbottom=False, labeltop=True)
    panel.spines[:].set_visible(False)
    if WORST in table.columns:
        panel.axvline(len(table.columns) - 1.5, color="white", linewidth=3)
    bar = figure.colorbar(image, ax=panel, label=label, fraction=0.04, pad=0.02)
    bar.outline.set_visible(False)
    return figure


def _shown(entry: Field) -> float:
    """The mean; NaN where a seed diverged, for the mean of the others would hide it."""
    return nan if entry.diverged else entry.mean


def _is_dark(colour: tuple[float, float, float, float]) -> bool:
    """Whether white letters are read better on it than black ones."""
    red, green, blue, _ = colour
    return 0.3 * red + 0.59 * green + 0.11 * blue < 0.5
