"""What a table says in words: one aggregator compared with each other one, over all of its columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan

from fedsim.report.comparisons import Comparison, comparisons_with
from fedsim.report.tables import WORST, Table


@dataclass(frozen=True)
class Compared:
    """The rows of a table that can be compared, and those that cannot.

    Attributes:
        comparisons: of one row with each other one, on the means over the columns of each seed.
        left_out: why, by row.
        over: what the means are over, as the beginning of a sentence.
    """

    comparisons: Sequence[Comparison]
    left_out: Mapping[str, str]
    over: str

    @property
    def sentences(self) -> list[str]:
        """Each without its full stop."""
        if not self.comparisons:
            return []
        missing = ", ".join(f"{row} ({why})" for row, why in self.left_out.items())
        said = [comparison for comparison in self.comparisons if comparison.repeats > 1]
        alone = [comparison for comparison in self.comparisons if comparison.repeats < 2]
        if len(alone) == 1:
            said += alone
        found = [f"{self.over}{comparison}" for comparison in said]
        if len(alone) > 1:
            others = f"{', '.join(one.second for one in alone[:-1])} or {alone[-1].second}"
            noise = "one seed has no noise to compare with"
            found.append(f"{self.over}{alone[0].first} cannot be told apart from {others} on 1 seed: {noise}")
        return [f"Left out of what follows: {missing}", *found] if missing else found


def compared(table: Table, reference: str | None, *, lower_is_better: bool) -> Compared:
    """The reference, by default the best row, compared with each other row.

    Columns in which nobody has a score are left out, and so are rows that lack one where others have one.
    """
    known = [column for column in table.columns if column != WORST and _has_scores(table, column)]
    by_seed: dict[str, dict[str, float]] = {}
    left_out: dict[str, str] = {}
    for row in table.rows:
        fields = [table.fields[row, column] for column in known]
        scores = [{seed: score for seed, score in one.scores.items() if not isnan(score)} for one in fields]
        seeds = [seed for seed in scores[0] if all(seed in others for others in scores)] if scores else []
        if any(field.diverged for field in fields):
            left_out[row] = "diverged"
        elif not seeds:
            left_out[row] = "not all of it is done"
        else:
            by_seed[row] = {seed: sum(one[seed] for one in scores) / len(scores) for seed in seeds}
    comparable = len(by_seed) > 1 and (reference is None or reference in by_seed)
    comparisons = comparisons_with(reference, by_seed, lower_is_better=lower_is_better) if comparable else []
    return Compared(comparisons, left_out, _over(known))


def _has_scores(table: Table, column: str) -> bool:
    return any(table.fields[row, column].diverged or not isnan(table.fields[row, column].mean) for row in table.rows)


def _over(columns: Sequence[str]) -> str:
    if len(columns) > 1:
        return f"Over all {len(columns)} columns, "
    return f"Under {columns[0]}, " if any(columns) else ""
