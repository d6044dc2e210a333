"""What a soak's samples mean."""

import random

import pytest

from fuzz.soak_report import HOUR, Sample, table

EVERY = 10.0


def samples(**figures: float) -> list[Sample]:
    """Two hours in which memory goes up and down, records grow with the rounds, and the rest stays."""
    draw = random.Random(0)
    found: list[Sample] = []
    for number in range(1, 721):
        hours, rounds = number * EVERY / HOUR, 70.0 * (number + figures.get("faster", 0) * max(0, number - 450))
        found.append(
            {
                "seconds": number * EVERY,
                "rounds": rounds,
                "rank 0 memory": 800 + draw.choice([0, 0, 0, 20, -20]) + figures.get("leak", 0) * hours,
                "rank 0 descriptors": 23 + (number % 50 == 0) + figures.get("descriptors", 0) * (number > 400),
                "bytes of metrics.jsonl": 1600 * rounds ** figures.get("power", 1),
                "bytes of metrics.backup": 1617 * rounds,
                "bytes of logs": figures.get("log", 88) * rounds,
                "bytes of checkpoints": 3.7e6 + figures.get("checkpoint", 0) * rounds,
            }
        )
    return found


def test_what_stays_is_flat_and_records_may_grow() -> None:
    text = table(samples())
    assert text.endswith("verdict: flat"), text
    assert text.startswith("2.00 hours, 50400 rounds, 720 samples")


def test_records_may_grow_faster_while_rounds_are_faster() -> None:
    text = table(samples(faster=1))
    assert text.endswith("verdict: flat"), text


@pytest.mark.parametrize(
    ("name", "value", "bad"),
    [
        ("leak", 3.0, "rank 0 memory"),
        ("descriptors", 2, "rank 0 descriptors"),
        ("power", 2, "bytes of metrics.jsonl"),
        ("log", 900, "bytes of logs"),
        ("checkpoint", 5, "bytes of checkpoints"),
    ],
)
def test_what_grows_is_named(name: str, value: float, bad: str) -> None:
    assert table(samples(**{name: value})).endswith(f"verdict: not flat: {bad}")
