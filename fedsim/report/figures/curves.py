"""A metric over the rounds: a panel per attack, a line per aggregator, 95 % bands over the seeds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import inf
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from fedsim.report.comparisons import half_width
from fedsim.report.figures.style import as_shares, legend_below, lines_of, panels
from fedsim.report.study import COLUMNS, DONE, ROWS, Entry
from fedsim.report.tables import DIVERGED

MOST_BANDS = 6
"""Lines of a panel whose bands can still be told apart."""

WIDE = 50.0
"""How many times the median the largest value is where an axis becomes logarithmic."""

CurveOf = Callable[[Entry], "pd.Series[float]"]
"""The values of a run by round; empty where it has none."""


def curves_figure(
    entries: Sequence[Entry],
    methods: Sequence[str],
    curve_of: CurveOf,
    label: str,
    *,
    share: bool,
    chance: float | None = None,
) -> Figure | None:
    """The figure; None if no run has such values.

    Args:
        methods: all aggregators of the report, so that each looks alike in every figure.
        label: what the values are.
        share: whether they lie between 0 and 1.
        chance: what guessing gives.
    """
    groups = {
        attack: dict(_bands(members, methods, curve_of)) for attack, members in _by_label(entries, COLUMNS).items()
    }
    groups = {attack: bands for attack, bands in groups.items() if bands}
    if not groups:
        return None
    figure, axes = panels([attack or label for attack in groups], x="round", y=label)
    lines = lines_of(methods)
    for panel, bands in zip(axes, groups.values(), strict=True):
        if chance is not None:
            panel.axhline(chance, color="#777777", linestyle=(0, (1, 2)), linewidth=0.8)
            panel.set_ylim(-0.02, 1.02)
        for method, band in bands.items():
            line = lines[method]
            markers: dict[str, Any] = {"marker": "o", "markersize": 3} if len(band) == 1 else {}
            panel.plot(band.index, band["mean"], color=line.colour, linestyle=line.dashes, label=method, **markers)
            if len(bands) <= MOST_BANDS:
                panel.fill_between(band.index, band["low"], band["high"], color=line.colour, alpha=0.1, linewidth=0)
    if not share:
        _set_scale(axes[0], [band["mean"] for bands in groups.values() for band in bands.values()])
    axes[0].xaxis.set_major_locator(MaxNLocator(nbins="auto", integer=True, min_n_ticks=1))
    if share:
        as_shares(axes[0])
    legend_below(figure, [method for method in methods if any(method in bands for bands in groups.values())], lines)
    return figure


def _set_scale(panel: Axes, means: Sequence[pd.Series[float]]) -> None:
    """A logarithmic axis where values would lie on the ground below a few large ones."""
    values = pd.concat(means)
    values = values[np.isfinite(values)]
    if not len(values) or values.min() < 0 or values.max() < WIDE * values.median() or values.median() == 0:
        return
    panel.set_yscale("log", nonpositive="clip")
    panel.set_ylim(bottom=max(values[values > 0].min(), values.median() / WIDE) / 2, top=2 * values.max())
    panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    panel.yaxis.set_minor_formatter(NullFormatter())


def _by_label(entries: Sequence[Entry], axis: str) -> dict[str, list[Entry]]:
    found: dict[str, list[Entry]] = {}
    for entry in entries:
        found.setdefault(entry.labels.get(axis, ""), []).append(entry)
    return found


def _bands(entries: Sequence[Entry], methods: Sequence[str], curve_of: CurveOf) -> Iterator[tuple[str, pd.DataFrame]]:
    """Mean and interval by round for each method.

    A run that is not at its end (yet) counts only where there is no other.
    """
    by_method = _by_label(entries, ROWS)
    for method in methods:
        members = by_method.get(method, [])
        ended = [entry for entry in members if entry.state in (DONE, DIVERGED)]
        members = ended or members
        curves = [curve for entry in members if len(curve := curve_of(entry))]
        if curves:
            yield method, band(curves, min(_last_round(entry) for entry in members))


def _last_round(entry: Entry) -> float:
    rounds = entry.run.metrics if entry.run is not None else pd.DataFrame()
    return float(rounds["round"].max()) if len(rounds) else inf


def band(curves: Sequence[pd.Series[float]], last: float = inf) -> pd.DataFrame:
    """Mean and 95 % interval of curves by round; no interval (NaN) where a round has one value.

    Args:
        last: round in which the first of the runs ends. Beyond it would be the mean of those that have not diverged,
            which is better than what to expect.

    >>> one, two = pd.Series({1: 0.1, 2: 0.2, 3: 0.3}), pd.Series({1: 0.3})
    >>> band([one, two], last=2)["mean"].tolist(), band([one, two], last=2)["low"].isna().tolist()
    ([0.2, 0.2], [False, True])
    """
    table = pd.concat(curves, axis=1).sort_index().loc[:last]
    mean = table.mean(axis=1)
    widths = table.apply(lambda values: half_width(values.dropna().tolist()), axis=1).replace(np.inf, np.nan)
    return pd.DataFrame({"mean": mean, "low": mean - widths, "high": mean + widths})
