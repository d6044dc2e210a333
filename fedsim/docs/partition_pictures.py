"""What each partitioner makes of one data set, drawn for the page that lists them."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from fedsim.data.partitioners import partitioners
from fedsim.data.split_file import samples_by_class
from fedsim.errors import ConfigError
from fedsim.files import whole_or_not_at_all
from fedsim.records.heat_map import heat_map
from fedsim.seeds import derive_generator

CLIENTS, CLASSES, OF_A_CLASS = 10, 10, 500

SHOWN = "counts"
"""Name of the text within a picture that says what it shows."""

Counts = list[list[int]]


def example_counts() -> dict[str, Counts]:
    """Samples of each client by class [K, C] for each partitioner that needs neither a column nor a file."""
    labels = torch.arange(CLASSES).repeat_interleave(OF_A_CLASS)
    found = {}
    for name in partitioners.describe():
        partitioner, generator = partitioners.build(name), derive_generator(0, "partition")
        try:
            indices = partitioner.partition(labels, CLIENTS, generator)
        except ConfigError:
            continue
        found[name] = samples_by_class(labels, indices, CLASSES)
    return found


def picture_lines(folder: str) -> Iterator[str]:
    """The pictures in a page, two in a row.

    Args:
        folder: of the pictures, as seen from the page.
    """
    yield f"{CLASSES} classes of {OF_A_CLASS} samples on {CLIENTS} clients, with the default settings and seed 0. A"
    yield "run draws the picture of its own split as `partition.png`."
    yield ""
    yield "| | |"
    yield "|---|---|"
    cells = [f"![samples of each client by class: {name}]({folder}/{name}.png)" for name in example_counts()]
    for left in range(0, len(cells), 2):
        yield f"| {' | '.join([*cells[left : left + 2], ''][:2])} |"
    yield ""


def missing_pictures(folder: Path) -> list[str]:
    """The pictures that are not there. Those that are there are not compared: they depend on fonts and libraries."""
    return [f"{name}.png" for name in example_counts() if not (folder / f"{name}.png").exists()]


def draw_pictures(folder: Path) -> list[str]:
    """Draw those pictures that are not there or show other numbers, and name them."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    for name, counts in example_counts().items():
        path = folder / f"{name}.png"
        if not (path.exists() and _shown(path) == counts):
            _draw(path, name, counts)
            drawn.append(path.name)
    return drawn


def _draw(path: Path, name: str, counts: Counts) -> None:
    picture = heat_map(
        np.array(counts, dtype=float),
        title=f"{name}: training samples of each client by class",
        rows=[f"client {client}" for client in range(CLIENTS)],
        columns=[str(label) for label in range(CLASSES)],
        text=lambda count: f"{count:.0f}",
    )
    about = PngInfo()
    about.add_text(SHOWN, json.dumps(counts))
    with whole_or_not_at_all(path) as part:
        Image.fromarray(picture).quantize(64).save(part, pnginfo=about, optimize=True)


def _shown(path: Path) -> Counts | None:
    with Image.open(path) as picture:
        found: Counts | None = json.loads(picture.info.get(SHOWN, "null"))
        return found
