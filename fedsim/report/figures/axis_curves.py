"""A score against a number that is an axis of the study, such as the number of Byzantine clients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, log10
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from fedsim.report.comparisons import half_width
from fedsim.report.figures.style import Line, as_shares, legend_below, lines_of, panels
from fedsim.report.study import COLUMNS, ROWS
from fedsim.report.tables import DIVERGED

LEAST = 2
"""Different numbers for which there is a figure."""

MOST_TICKS = 8
"""Numbers that find room below an axis."""

DECADE = 10.0


@dataclass(frozen=True)
class Numbers:
    """The axis of such a figure.

    Attributes:
        of: the number of each label.
        name: below the axis.
        ticks: what is written at a number, where that is not its label.
        log: whether equal ratios are equally far apart.
    """

    of: Mapping[str, float]
    name: str
    ticks: Mapping[str, str]
    log: bool

    def places(self) -> dict[str, float]:
        """Where each label lies on an even scale."""
        return {label: log10(number) if self.log else number for label, number in self.of.items()}

    def apart(self, place: int, count: int) -> float:
        """How far the points of one of several lines are moved aside, so that bars do not hide each other."""
        places = sorted(set(self.places().values()))
        step = min(0.015 * (places[-1] - places[0]), 0.4 * float(np.diff(places).min()) / count)
        return step * (place - (count - 1) / 2)


def numbers_of(labels: Sequence[str]) -> dict[str, float] | None:
    """The labels of an axis as numbers; None if one is none, or if there are too few.

    >>> numbers_of(["0.1", "1", "100"]), numbers_of(["small", "2"])
    ({'0.1': 0.1, '1': 1.0, '100': 100.0}, None)
    """
    try:
        numbers = {label: float(label) for label in labels}
    except ValueError:
        return None
    finite = all(abs(number) < inf for number in numbers.values())
    return numbers if finite and len(set(numbers.values())) >= LEAST else None


def spread_wide(values: Sequence[float]) -> bool:
    """Whether they span a decade and lie more evenly on a logarithmic scale.

    >>> [spread_wide(values) for values in ([0.1, 1, 100], [5, 10, 25, 50, 100], [0, 5, 10], [10, 60, 110])]
    [True, True, False, False]
    """
    values = sorted(set(values))
    if values[0] <= 0 or values[-1] < DECADE * values[0]:
        return False
    gaps, ratios = np.diff(values), np.diff(np.log(values))
    return bool(ratios.std() / ratios.mean() <= gaps.std() / gaps.mean())


def axis_figure(
    scores: pd.DataFrame, axis: str, numbers: Numbers, methods: Sequence[str], label: str, *, share: bool, lower: bool
) -> Figure | None:
    """The figure: a panel per attack, a line per aggregator, intervals over the seeds; None without any score.

    Where a seed diverged there is a cross at the bad end of the panel instead of a mean over the others.

    Args:
        scores: a row per run; those of a panel and an aggregator differ by ``axis`` and their seed only.
        lower: whether small scores are good.
    """
    for name in (COLUMNS, ROWS):
        scores = scores if name in scores else scores.assign(**{name: ""})
    known = scores[scores["score"].notna() | (scores["state"] == DIVERGED)]
    if known["score"].isna().all():
        return None
    attacks, shown = list(dict.fromkeys(known[COLUMNS])), [method for method in methods if method in set(known[ROWS])]
    figure, axes = panels(attacks, x=numbers.name, y=label)
    lines = lines_of(methods)
    for panel, attack in zip(axes, attacks, strict=True):
        for place, method in enumerate(shown):
            runs = known[(known[COLUMNS] == attack) & (known[ROWS] == method)]
            if len(runs):
                _draw(panel, _points(runs, axis), numbers, numbers.apart(place, len(shown)), lines[method], lower)
        _set_ticks(panel, numbers)
    if share:
        as_shares(axes[0])
    if any(shown):
        legend_below(figure, shown, lines)
    return figure


def _points(runs: pd.DataFrame, axis: str) -> pd.DataFrame:
    """Mean and half the width of its interval by label, and whether a seed diverged, which leaves no mean."""
    by_label = runs.groupby(axis, sort=False)
    points = pd.DataFrame(
        {
            "mean": by_label["score"].mean(),
            "width": by_label["score"].apply(lambda values: half_width(values.dropna().tolist())),
            "diverged": by_label["state"].apply(lambda states: bool((states == DIVERGED).any())),
        }
    )
    points["width"] = points["width"].replace(inf, 0.0)
    points.loc[points["diverged"], ["mean", "width"]] = np.nan
    return points


def _draw(panel: Axes, points: pd.DataFrame, numbers: Numbers, apart: float, line: Line, lower: bool) -> None:
    places = numbers.places()
    points = points.assign(at=[places[str(label)] + apart for label in points.index]).sort_values("at")
    at = DECADE ** points["at"] if numbers.log else points["at"]
    marker: Any = {"color": line.colour, "marker": "o", "markersize": 3, "capsize": 1.5, "elinewidth": 0.7}
    panel.errorbar(at, points["mean"], yerr=points["width"], linestyle=line.dashes, **marker)
    crosses = at[points["diverged"]]
    bottom = [0.97 if lower else 0.03] * len(crosses)
    panel.plot(crosses, bottom, "x", color=line.colour, markersize=4, transform=panel.get_xaxis_transform())


def _set_ticks(panel: Axes, numbers: Numbers) -> None:
    if numbers.log:
        panel.set_xscale("log")
    if len(numbers.of) <= MOST_TICKS:
        panel.set_xticks(list(numbers.of.values()), [numbers.ticks.get(label, label) for label in numbers.of])
        panel.xaxis.set_minor_locator(NullLocator())
