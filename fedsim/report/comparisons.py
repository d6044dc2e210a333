"""What the scores of several seeds say: intervals, paired comparisons, ranks over many settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf, isnan, sqrt

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

LEVEL = 0.95

FEW = 5
"""Repeats below which a comparison is said to rest on few."""

DRAWS = 10_000
"""Of the bootstrap."""


def bootstrap_interval(values: Sequence[float], level: float = LEVEL) -> tuple[float, float]:
    """The percentile interval of the mean over resampled values; the same for the same values.

    >>> low, high = bootstrap_interval([0.0, 1.0] * 50)
    >>> round(low, 1), round(high, 1)
    (0.4, 0.6)
    """
    if len(values) < 2:
        return (-inf, inf)
    generator = np.random.default_rng(0)
    picked = generator.integers(len(values), size=(DRAWS, len(values)))
    means = np.asarray(values, dtype=float)[picked].mean(axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def half_width(values: Sequence[float], level: float = LEVEL) -> float:
    """Half the width of Student's interval of the mean; infinite for one value.

    >>> round(half_width([1.0, 2.0, 3.0]), 3)
    2.484
    """
    if len(values) < 2:
        return inf
    spread = float(np.std(values, ddof=1))
    return float(stats.t.ppf((1 + level) / 2, len(values) - 1)) * spread / sqrt(len(values))


@dataclass(frozen=True)
class Comparison:
    """Two methods on the same seeds, whose splits and draws are the same.

    Attributes:
        difference: mean over the seeds of the first's score minus the second's.
        half_width: of its 95 % interval (Student's, of the differences).
        p: of the paired t-test; NaN on one seed.
        repeats: seeds that both have.
        bootstrap: 95 % interval of the mean difference over resampled seeds.
        adjusted: p by Holm's procedure, where it is one of several comparisons.
    """

    first: str
    second: str
    difference: float
    half_width: float
    p: float
    repeats: int
    bootstrap: tuple[float, float] = (-inf, inf)
    adjusted: float | None = None

    @property
    def differs(self) -> bool:
        """Whether the interval leaves out zero; of several comparisons, whether p does after Holm's correction."""
        if self.adjusted is not None:
            return self.adjusted < 1 - LEVEL
        return abs(self.difference) > self.half_width

    def __str__(self) -> str:
        """In words.

        >>> str(compare("a", "b", {"0": 0.9, "1": 0.8, "2": 0.85}, {"0": 0.5, "1": 0.41, "2": 0.44}))
        'a scores 0.400 more than b on 3 seeds (95 % interval 0.375 to 0.425; few seeds)'
        """
        on = f"on {self.repeats} seed{'s' * (self.repeats != 1)}"
        if self.repeats < 2:
            return f"{self.first} and {self.second} cannot be told apart {on}: one seed has no noise to compare with"
        low, high = self.difference - self.half_width, self.difference + self.half_width
        few = "" if self.adjusted is None else f"; {p_value(self.adjusted)} by Holm's correction"
        few += "; few seeds" if self.repeats < FEW else ""
        if not self.differs:
            interval = f"difference {self.difference:+.3f}, 95 % interval {low:+.3f} to {high:+.3f}{few}"
            return f"{self.first} and {self.second} cannot be told apart {on} ({interval})"
        low, high = sorted([abs(low), abs(high)])
        how = "more" if self.difference > 0 else "less"
        interval = f"95 % interval {low:.3f} to {high:.3f}{few}"
        return f"{self.first} scores {abs(self.difference):.3f} {how} than {self.second} {on} ({interval})"


def p_value(p: float) -> str:
    """As papers write it.

    >>> p_value(0.0312), p_value(1e-9)
    ('p = 0.031', 'p < 0.001')
    """
    return f"p = {p:.2g}" if p >= 0.001 else "p < 0.001"


def compare(first: str, second: str, scores: Mapping[str, float], others: Mapping[str, float]) -> Comparison:
    """Two methods by their scores on each seed; seeds that only one has are left out."""
    seeds = [seed for seed in scores if seed in others and not isnan(scores[seed] + others[seed])]
    differences = [scores[seed] - others[seed] for seed in seeds]
    if len(seeds) < 2:
        mean = differences[0] if differences else float("nan")
        return Comparison(first, second, mean, inf, float("nan"), len(seeds))
    mean, error = float(np.mean(differences)), float(np.std(differences, ddof=1)) / sqrt(len(seeds))
    t = abs(mean) / error if error else inf if mean else 0.0
    p = 2 * float(stats.t.sf(t, len(seeds) - 1))
    width, resampled = half_width(differences), bootstrap_interval(differences)
    return Comparison(first, second, mean, width, p, len(seeds), resampled)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values of a family of tests, adjusted by Holm's step-down procedure; NaN stays NaN.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    known = sorted((p, place) for place, p in enumerate(p_values) if not isnan(p))
    adjusted, highest = [float("nan")] * len(p_values), 0.0
    for rank, (p, place) in enumerate(known):
        highest = max(highest, min(1.0, (len(known) - rank) * p))
        adjusted[place] = highest
    return adjusted


@dataclass(frozen=True)
class Ranks:
    """Average ranks of methods over settings that all of them have a score for (Demsar 2006, JMLR).

    Attributes:
        average: mean rank by method, 1 being the best; ties share their ranks.
        settings: how many.
        p: of Friedman's test that all methods are alike; NaN for two methods, and where all are always equal.
        critical_difference: of Nemenyi's test: methods whose ranks differ by less cannot be told apart (5 %).
    """

    average: Mapping[str, float]
    settings: int
    p: float
    critical_difference: float

    def groups(self) -> list[list[str]]:
        """The largest groups of methods that cannot be told apart, best first."""
        order = sorted(self.average, key=lambda method: self.average[method])
        found: list[list[str]] = []
        for start, method in enumerate(order):
            limit = self.average[method] + self.critical_difference
            group = [other for other in order[start:] if self.average[other] <= limit]
            if len(group) > 1 and not any(set(group) <= set(known) for known in found):
                found.append(group)
        return found


def ranks(scores: pd.DataFrame, *, lower_is_better: bool) -> Ranks | None:
    """Ranks of methods from a table with a row per setting and a column per method; None if there is too little.

    Settings in which a method has no score are left out.

    >>> table = pd.DataFrame({"a": [0.9, 0.8, 0.7], "b": [0.5, 0.6, 0.9], "c": [0.1, 0.2, 0.3]})
    >>> found = ranks(table, lower_is_better=False)
    >>> {name: round(rank, 2) for name, rank in found.average.items()}, round(found.critical_difference, 2)
    ({'a': 1.33, 'b': 1.67, 'c': 3.0}, 1.91)
    """
    complete = scores.dropna()
    settings, methods = complete.shape
    if settings < 2 or methods < 2:
        return None
    values = complete.to_numpy(dtype=float) * (1 if lower_is_better else -1)
    by_setting: NDArray[np.float64] = np.apply_along_axis(stats.rankdata, 1, values)
    tied = bool((by_setting == by_setting[0, 0]).all())
    p = float(stats.friedmanchisquare(*values.T).pvalue) if methods > 2 and not tied else float("nan")
    quantile = float(stats.studentized_range.ppf(LEVEL, methods, inf)) / sqrt(2)
    critical = quantile * sqrt(methods * (methods + 1) / (6 * settings))
    average = dict(zip(map(str, complete.columns), by_setting.mean(axis=0).tolist(), strict=True))
    return Ranks(average, settings, p, critical)


def comparisons_with(
    reference: str | None, by_seed: Mapping[str, Mapping[str, float]], *, lower_is_better: bool
) -> list[Comparison]:
    """A method compared with every other, by their scores on each seed; of the others the best first.

    Args:
        reference: the method; None: the best. A method that is chosen for its scores seems better than it is.
    """
    known = {method: [score for score in scores.values() if not isnan(score)] for method, scores in by_seed.items()}
    means = {method: float(np.mean(scores)) for method, scores in known.items() if scores}
    order = sorted(means, key=lambda method: means[method], reverse=not lower_is_better)
    first = order[0] if reference is None else reference
    found = [compare(first, other, by_seed[first], by_seed[other]) for other in order if other != first]
    adjusted = holm([comparison.p for comparison in found])
    return [
        replace(comparison, adjusted=None if isnan(p) else p) for comparison, p in zip(found, adjusted, strict=True)
    ]
