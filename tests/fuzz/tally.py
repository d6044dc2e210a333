"""Counts of a fuzzer: how many inputs ended how, and every kind of mistake with its smallest input."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable

SHOWN = 400
"""Characters of an input in the list of mistakes."""


def long_form(count: int) -> int:
    """How many inputs the long form has: ``count`` times the environment variable FUZZ_SCALE, 1 without it."""
    return max(1, round(count * float(os.environ.get("FUZZ_SCALE", "1"))))


class Tally:
    """The figures of one fuzzer.

    >>> tally = Tally("texts")
    >>> tally.add("valid", [], "a: 1", seconds=0.01)
    >>> tally.add("refused", ["hangs"], "a: [[[", seconds=20)
    >>> print(tally.table())
    texts: 2 inputs (1 refused, 1 valid), slowest 20.00 s; 1 kind of mistake
      1 x hangs
          for example: a: [[[
    """

    def __init__(self, name: str) -> None:
        self._name, self._slowest = name, 0.0
        self._outcomes: Counter[str] = Counter()
        self._mistakes: Counter[str] = Counter()
        self._examples: dict[str, str] = {}

    def add(self, outcome: str, mistakes: Iterable[str], example: str, seconds: float = 0.0) -> None:
        """One input has ended."""
        self._outcomes[outcome] += 1
        self._slowest = max(self._slowest, seconds)
        for mistake in mistakes:
            self._mistakes[mistake] += 1
            known = self._examples.get(mistake)
            if known is None or len(example) < len(known):
                self._examples[mistake] = example

    def table(self) -> str:
        """One line of figures, then the kinds of mistakes, the most frequent first."""
        total = sum(self._outcomes.values())
        outcomes = ", ".join(f"{count} {outcome}" for outcome, count in sorted(self._outcomes.items()))
        kinds = len(self._mistakes)
        found = f"{kinds or 'no'} kind{'s' * (kinds != 1)} of mistake"
        lines = [f"{self._name}: {total} inputs ({outcomes}), slowest {self._slowest:.2f} s; {found}"]
        for mistake, count in self._mistakes.most_common():
            lines += [f"  {count} x {mistake}", f"      for example: {_shown(self._examples[mistake])}"]
        return "\n".join(lines)

    def require_clean(self) -> None:
        """AssertionError with the table if there was a mistake; figures are shown under ``pytest -s``."""
        table = self.table()
        os.write(1, f"\n{table}\n".encode("utf-8", "backslashreplace"))
        assert not self._mistakes, table


def _shown(example: str) -> str:
    return example if len(example) <= SHOWN else f"{example[: SHOWN // 2]} ... {example[-SHOWN // 2 :]}"
