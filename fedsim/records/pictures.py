"""The pictures of a run."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fedsim.files import whole_or_not_at_all
from fedsim.records.heat_map import heat_map

Picture = NDArray[np.uint8]


def save_picture(path: Path, picture: Picture) -> None:
    """Write a PNG file whole or not at all."""
    with whole_or_not_at_all(path) as part:
        Image.fromarray(picture).save(part)


def partition_picture(
    counts: Sequence[Sequence[int]],
    class_names: Sequence[str],
    byzantine: Collection[int] = (),
    what: str = "samples",
) -> Picture:
    """Training samples per client and class [K, C], or ``what`` else has a class."""
    return heat_map(
        np.array(counts, dtype=float),
        title=f"training {what} of each client (Byzantine: red) by class",
        rows=_client_names(len(counts)),
        columns=class_names,
        marked=byzantine,
        text=lambda count: f"{count:.0f}",
    )


def confusion_picture(counts: Sequence[Sequence[int]], class_names: Sequence[str]) -> Picture:
    """Rows are true classes, shaded by the share that is taken for the class of the column."""
    table = np.array(counts, dtype=float)
    return heat_map(
        table / np.maximum(table.sum(axis=1, keepdims=True), 1),
        title="share of a class (row) that is taken for another (column)",
        rows=class_names,
        columns=class_names,
        highest=1.0,
        text=lambda share: f"{share:.2f}" if share else "",
    )


def trust_picture(
    trust: Mapping[int, Mapping[int, float] | None],
    rounds: Sequence[int],
    num_clients: int,
    byzantine: Collection[int],
) -> Picture:
    """Trust in each client, by id, over the given rounds; grey where there is none."""
    values = np.full((num_clients, len(rounds)), np.nan)
    for column, round_number in enumerate(rounds):
        for client, value in (trust[round_number] or {}).items():
            values[client, column] = np.nan if value is None else value  # NaN is stored as null
    return heat_map(
        values,
        title="trust in each client (Byzantine: red) over rounds",
        rows=_client_names(num_clients),
        columns=[str(round_number) for round_number in rounds],
        marked=byzantine,
        highest=1.0,
        text=lambda value: f"{value:.2f}",
    )


def _client_names(count: int) -> list[str]:
    return [f"client {client}" for client in range(count)]
