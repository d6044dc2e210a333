"""Tables attack x aggregator: means over seeds, the worst case of each row, and marks for what is surely better."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf, isnan, nan
from typing import Any

import numpy as np
import pandas as pd

from fedsim.report.comparisons import compare
from fedsim.report.study import COLUMNS, DONE, REPEATS, ROWS, Study

WORST = "worst"

BEST, SECOND = "best", "second"
"""Marks of a field: better than all others of its column, or than all but the best, by more than the noise."""

DIVERGED = "diverged"


@dataclass
class Field:
    """One field of a table: the runs that differ by their seed only.

    Attributes:
        scores: of the runs that are done, by seed.
        states: how many of the others are in which state.
        mark: :attr:`BEST`, :attr:`SECOND`, or empty.
        attack: in the column of worst cases, the attack that it is the result of.
    """

    scores: Mapping[str, float] = field(default_factory=dict)
    states: Mapping[str, int] = field(default_factory=dict)
    mark: str = ""
    attack: str = ""

    @property
    def known(self) -> list[float]:
        """The scores that there are: a run that is done may lack the metric."""
        return [score for score in self.scores.values() if not isnan(score)]

    @property
    def mean(self) -> float:
        """Over the seeds; NaN where nothing is done."""
        return float(np.mean(self.known)) if self.known else nan

    @property
    def deviation(self) -> float:
        """Standard deviation over the seeds; NaN for less than two."""
        return float(np.std(self.known, ddof=1)) if len(self.known) > 1 else nan

    @property
    def diverged(self) -> bool:
        """Whether a run did: no mean of the others makes up for that."""
        return bool(self.states.get(DIVERGED))

    @property
    def provisional(self) -> bool:
        """Whether it is the worst case of some attacks only: others have no score yet."""
        return bool(self.attack and self.states)

    @property
    def number(self) -> str:
        """Mean and deviation, in three digits.

        >>> Field({"0": 0.5, "1": 0.7}).number, Field({"0": 0.5}).number, Field().number
        ('0.600 ± 0.141', '0.500', '')
        """
        if isnan(self.mean):
            return ""
        return f"{self.mean:.3f}" + ("" if isnan(self.deviation) else f" ± {self.deviation:.3f}")

    @property
    def remark(self) -> str:
        """What is not done.

        >>> Field({"0": 0.5}, {"failed": 1, "pending": 2}).remark, Field({}, {"diverged": 3}).remark
        ('1 failed, 2 pending', 'diverged')
        """
        if len(self.states) == 1 and not self.number:
            return next(iter(self.states))
        return ", ".join(f"{count} {state}" for state, count in self.states.items())


def in_words(choice: Mapping[str, str]) -> str:
    """Labels with their axes; those on an axis that the runs do not have are left out.

    >>> in_words({"data": "mnist5k", "clients.count": "8", "rounds": ""})
    'data mnist5k, clients.count 8'
    """
    return ", ".join(f"{axis} {label}" for axis, label in choice.items() if label)


@dataclass(frozen=True)
class Table:
    """Aggregators down, attacks across; the last column is the worst case of each row, if there are several.

    Attributes:
        choice: the labels on the other axes.
        fields: by row and column.
        rows_are: what the rows stand for.
    """

    choice: Mapping[str, str]
    rows: Sequence[str]
    columns: Sequence[str]
    fields: Mapping[tuple[str, str], Field]
    rows_are: str = ROWS

    @property
    def title(self) -> str:
        """The choice in words."""
        return in_words(self.choice)

    @property
    def means(self) -> pd.DataFrame:
        """The means as numbers, a row per aggregator; worst cases left out."""
        attacks = [column for column in self.columns if column != WORST]
        values = [[self.fields[row, column].mean for column in attacks] for row in self.rows]
        return pd.DataFrame(values, index=list(self.rows), columns=attacks)

    def to_rank(self, *, lower_is_better: bool) -> pd.DataFrame:
        """The means with a row per attack, for ranks: a divergence, be it of one seed, is worse than any number."""
        bad = inf if lower_is_better else -inf
        means = self.means
        for row, attack in itertools.product(means.index, means.columns):
            if self.fields[row, attack].diverged:
                means.loc[row, attack] = bad
        return means.T

    def tidy(self) -> Iterator[dict[str, Any]]:
        """A record per field, for a CSV file."""
        for (row, column), entry in self.fields.items():
            yield {
                **self.choice,
                self.rows_are: row,
                COLUMNS: column,
                "mean": None if isnan(entry.mean) else entry.mean,
                "deviation": None if isnan(entry.deviation) else entry.deviation,
                "runs": len(entry.known),
                "not done": entry.remark,
                "mark": entry.mark,
                "worst attack": entry.attack,
            }


def tables(study: Study, scores: pd.DataFrame, *, lower_is_better: bool) -> list[Table]:
    """A table for each choice on the axes that are neither attack, aggregator nor seed."""
    found = []
    for choice in study.choices(study.other_axes):
        chosen = scores
        for axis, label in choice.items():
            chosen = chosen[chosen[axis] == label]
        if len(chosen):
            table = _table(choice, chosen, lower_is_better=lower_is_better)
            found.append(replace(table, rows_are=study.rows_are))
    return found


def _table(choice: Mapping[str, str], scores: pd.DataFrame, *, lower_is_better: bool) -> Table:
    rows, attacks = (_labels(scores, axis) for axis in (ROWS, COLUMNS))
    fields = {(row, attack): _field(scores, row, attack) for row in rows for attack in attacks}
    columns = [*attacks, WORST] if len(attacks) > 1 else attacks
    if len(attacks) > 1:
        for row in rows:
            of_row = {attack: fields[row, attack] for attack in attacks}
            fields[row, WORST] = _worst(of_row, lower_is_better=lower_is_better)
    for column in columns:
        _mark({row: fields[row, column] for row in rows}, lower_is_better=lower_is_better)
    return Table(choice, rows, columns, fields)


def _labels(scores: pd.DataFrame, axis: str) -> list[str]:
    return list(dict.fromkeys(scores[axis])) if axis in scores else [""]


def _field(scores: pd.DataFrame, row: str, attack: str) -> Field:
    for axis, label in ((ROWS, row), (COLUMNS, attack)):
        scores = scores[scores[axis] == label] if axis in scores else scores
    done = scores[scores["state"] == DONE]
    seeds = done[REPEATS] if REPEATS in done else pd.Series([""] * len(done), index=done.index)
    return Field(
        scores={str(seed): float(score) for seed, score in zip(seeds, done["score"], strict=True)},
        states=Counter(str(state) for state in scores["state"] if state != DONE),
    )


def _worst(of_row: Mapping[str, Field], *, lower_is_better: bool) -> Field:
    """What an aggregator guarantees: its worst field, and a divergence is worse than any number."""
    diverged = [attack for attack, entry in of_row.items() if entry.diverged]
    if diverged:
        return Field({}, {DIVERGED: 1}, attack=diverged[0])
    known = {attack: entry.mean for attack, entry in of_row.items() if not isnan(entry.mean)}
    if not known:
        return Field({}, {"-": 1})
    attack = (max if lower_is_better else min)(known, key=lambda name: known[name])
    part = {f"of {len(of_row)} attacks": len(known)} if len(known) < len(of_row) else {}
    return Field(of_row[attack].scores, part, attack=attack)


def _mark(of_column: Mapping[str, Field], *, lower_is_better: bool) -> None:
    """Mark the best and the second best field, each only if it is better than the next by more than the noise.

    A worst case that may get worse yet is not marked.
    """
    known = [row for row, entry in of_column.items() if not isnan(entry.mean) and not entry.diverged]
    order = sorted(known, key=lambda row: of_column[row].mean, reverse=not lower_is_better)
    for mark, place in ((BEST, 0), (SECOND, 1)):
        if len(order) <= place + 1:
            return
        row, rest = order[place], order[place + 1 :]
        others = (compare(row, other, of_column[row].scores, of_column[other].scores) for other in rest)
        if of_column[row].provisional or not all(comparison.differs for comparison in others):
            return
        of_column[row].mark = mark
