"""What hours of samples of one run say: first part against last part, slopes, a verdict."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import linear_regression, mean, median

Sample = Mapping[str, float]
"""Figures at one moment by name, with ``seconds`` since the start and ``rounds`` done."""

HOUR = 3600.0

WARM_UP = 1 / 4
"""Part of the time in which memory may still grow: caches of kernels, arenas of the allocator."""

WINDOWS = 12
"""Parts of the rest, of which the medians are fitted: a sample in the middle of a checkpoint counts little."""

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
        trend: what the figure gains, in the unit that ``per`` names.
        problem: what is not as it should be, empty if all is.
    """

    name: str
    first: float
    last: float
    trend: Trend
    per: str
    problem: str = ""


@dataclass(frozen=True)
class Trend:
    """A fitted slope, and twice its standard error."""

    slope: float
    uncertainty: float

    @classmethod
    def of(cls, times: Sequence[float], values: Sequence[float]) -> Trend:
        """Least squares on the medians of consecutive windows.

        >>> Trend.of([0, 1, 2, 3], [5, 7, 9, 11])
        Trend(slope=2.0, uncertainty=0.0)
        """
        size = max(1, len(times) // WINDOWS)
        windows = [slice(start, start + size) for start in range(0, len(times), size)]
        x, y = [mean(times[window]) for window in windows], [median(values[window]) for window in windows]
        if len(x) < 3:
            return cls(0.0, float("inf"))
        fitted = linear_regression(x, y)
        residuals = [value - fitted.slope * time - fitted.intercept for time, value in zip(x, y, strict=True)]
        spread = sum((time - mean(x)) ** 2 for time in x) * (len(x) - 2)
        return cls(fitted.slope, 2 * (sum(residual**2 for residual in residuals) / spread) ** 0.5)


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
    window = min(HOUR, (length - samples[0]["seconds"]) / 2)
    values = [sample[name] for sample in samples]
    first = [sample[name] for sample in samples if sample["seconds"] <= samples[0]["seconds"] + window]
    last = [sample[name] for sample in samples if sample["seconds"] >= length - window]
    judge, by, per = KINDS.get(name.rpartition(" ")[2], (constant, "seconds", "/hour"))
    along = [sample[by] / (HOUR if by == "seconds" else 1.0) for sample in samples]
    trend = Trend.of(along, values)
    return Row(name, median(first), median(last), trend, per, judge(along, values, trend))


def flat(along: Sequence[float], values: Sequence[float], trend: Trend) -> str:
    """Memory: it may go up and down, but not up for hours."""
    grows = trend.slope - trend.uncertainty > MEGABYTES_PER_HOUR
    return f"grows by {trend.slope:.1f} MB/hour" if grows else ""


def constant(along: Sequence[float], values: Sequence[float], trend: Trend) -> str:
    """Descriptors, threads, files: as many in the second half as in the first, but for moments."""
    half = len(values) // 2
    before, after = median(values[:half] or values), median(values[half:])
    return f"rises from {before:g} to {after:g}" if after > before * 1.01 else ""


def proportional(along: Sequence[float], values: Sequence[float], trend: Trend) -> str:
    """Records: every round adds the same, however fast rounds are on a machine with other work."""
    half = len(values) // 2
    before, after = values[half] - values[0], values[-1] - values[half]
    rounds_before, rounds_after = along[half] - along[0], along[-1] - along[half]
    return "grows faster and faster" if after * rounds_before > 1.2 * before * rounds_after else ""


def bounded_lines(along: Sequence[float], values: Sequence[float], trend: Trend) -> str:
    """Logs: no more than a short line for each round."""
    return f"{trend.slope:.0f} B for each round" if trend.slope > LOG_BYTES_PER_ROUND else ""


KINDS: dict[str, tuple[Callable[[Sequence[float], Sequence[float], Trend], str], str, str]] = {
    "memory": (flat, "seconds", "MB/hour"),
    "metrics.jsonl": (proportional, "rounds", "B/round"),
    "metrics.backup": (proportional, "rounds", "B/round"),
    "TensorBoard": (proportional, "rounds", "B/round"),
    "logs": (bounded_lines, "rounds", "B/round"),
}
"""By the last word of a figure's name: its verdict, what it is fitted against, and the unit of the slope."""


def table(samples: Sequence[Sample]) -> str:
    """The rows as text, the rounds before them and the verdict below."""
    found = rows(samples)
    hours, rounds = samples[-1]["seconds"] / HOUR, samples[-1]["rounds"]
    lines = [f"{hours:.2f} hours, {rounds:.0f} rounds, {len(samples)} samples"]
    lines.append(f"{'figure':22} {'first':>13} {'last':>13} {'slope':>11} {'+-':>8} {'':8} verdict")
    lines += [
        f"{row.name:22} {row.first:13,.1f} {row.last:13,.1f} {row.trend.slope:11,.2f} {row.trend.uncertainty:8,.2f} "
        f"{row.per:8} {row.problem or 'ok'}"
        for row in found
    ]
    bad = [row.name for row in found if row.problem]
    lines.append(f"verdict: not flat: {', '.join(bad)}" if bad else "verdict: flat")
    return "\n".join(lines)
