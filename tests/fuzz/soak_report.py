"""What hours of samples of one run say: first part against last part, slopes, a verdict."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import linear_regression, median

Sample = Mapping[str, float]
"""Figures at one moment by name, with ``seconds`` since the start and ``rounds`` done."""

HOUR = 3600.0

WARM_UP = 1 / 8
"""Part of the time in which memory may still grow: caches of kernels, arenas of the allocator."""

MEGABYTES_PER_HOUR = 1.0
"""Resident memory that grows more slowly than this counts as flat."""

LOG_BYTES_PER_ROUND = 300.0
"""Logs hold one progress line for each round where there is no terminal."""


@dataclass(frozen=True)
class Row:
    """One figure of the table.

    Attributes:
        first: median in the first window.
        last: median in the last window.
        slope: what the figure gains, in the unit that ``per`` names.
        problem: what is not as it should be, empty if all is.
    """

    name: str
    first: float
    last: float
    slope: float
    per: str
    problem: str = ""


def rows(samples: Sequence[Sample]) -> list[Row]:
    """The table of a soak, one row for each figure.

    Args:
        samples: in the order of time; those of the warm-up are left out.
    """
    length = samples[-1]["seconds"]
    warm = [sample for sample in samples if sample["seconds"] >= length * WARM_UP]
    names = sorted({name for sample in warm for name in sample} - {"seconds", "rounds"})
    return [_row(name, [sample for sample in warm if name in sample]) for name in names]


def _row(name: str, samples: Sequence[Sample]) -> Row:
    length = samples[-1]["seconds"]
    window = min(HOUR, length / 2)
    values = [sample[name] for sample in samples]
    first = [sample[name] for sample in samples if sample["seconds"] <= samples[0]["seconds"] + window]
    last = [sample[name] for sample in samples if sample["seconds"] >= length - window]
    kind, by, per = KINDS.get(name.rpartition(" ")[2], (constant, "seconds", "/hour"))
    scale = HOUR if by == "seconds" else 1.0
    slope = linear_regression([sample[by] / scale for sample in samples], values).slope if len(samples) > 1 else 0.0
    return Row(name, median(first), median(last), slope, per, kind(values, slope))


def flat(values: Sequence[float], slope: float) -> str:
    """Memory: it may go up and down, but not up for hours."""
    return f"grows by {slope:.2f} MB/hour" if slope > MEGABYTES_PER_HOUR else ""


def constant(values: Sequence[float], slope: float) -> str:
    """Descriptors, threads, files: the second half reaches no higher than the first."""
    half = len(values) // 2
    return f"rises from {max(values[:half]):g} to {max(values[half:]):g}" if _rises(values, half) else ""


def _rises(values: Sequence[float], half: int) -> bool:
    return half > 0 and max(values[half:]) > max(values[:half]) * 1.01


def proportional(values: Sequence[float], slope: float) -> str:
    """Records: every round adds the same, so both halves gain about as much for each sample."""
    half = len(values) // 2
    before, after = values[half] - values[0], values[-1] - values[half]
    return "grows faster and faster" if before > 0 and after > 1.5 * before else ""


def bounded_lines(values: Sequence[float], slope: float) -> str:
    """Logs: no more than a short line for each round."""
    return f"{slope:.0f} B for each round" if slope > LOG_BYTES_PER_ROUND else ""


KINDS: dict[str, tuple[Callable[[Sequence[float], float], str], str, str]] = {
    "memory": (flat, "seconds", "MB/hour"),
    "metrics.jsonl": (proportional, "rounds", "B/round"),
    "TensorBoard": (proportional, "rounds", "B/round"),
    "logs": (bounded_lines, "rounds", "B/round"),
}
"""By the last word of a figure's name: its verdict, what it is fitted against, and the unit of the slope."""


def table(samples: Sequence[Sample]) -> str:
    """The rows as text, the rounds before them and the verdict below."""
    found = rows(samples)
    hours, rounds = samples[-1]["seconds"] / HOUR, samples[-1]["rounds"]
    lines = [f"{hours:.2f} hours, {rounds:.0f} rounds, {len(samples)} samples"]
    lines.append(f"{'figure':28} {'first':>14} {'last':>14} {'slope':>12} {'':8} verdict")
    lines += [
        f"{row.name:28} {row.first:14,.1f} {row.last:14,.1f} {row.slope:12,.3f} {row.per:8} {row.problem or 'ok'}"
        for row in found
    ]
    bad = [row.name for row in found if row.problem]
    lines.append(f"verdict: not flat: {', '.join(bad)}" if bad else "verdict: flat")
    return "\n".join(lines)
