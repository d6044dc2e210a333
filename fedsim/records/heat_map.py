"""A matrix as a picture: rows and columns with names, cells from white (least) to dark blue (most).

Drawn with Pillow, at every start and while a run goes on: matplotlib needs a second for the first picture and a
quarter of a second for each further one, where this takes 15 ms.
"""

from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

WIDTH, HEIGHT, MARGIN, LETTER = 640, 400, 12, 16
"""Pixels: about the size of the cells together, the space around them, and the height of a letter."""

LONGEST = 40
"""Letters of a name; longer ones are cut."""

INK, PALE, WARNING, MISSING = (40, 40, 40), (250, 250, 250), (200, 30, 30), (225, 225, 225)

LEAST, MOST = np.array([247, 251, 255]), np.array([8, 48, 107])


def heat_map(
    values: NDArray[np.floating],
    *,
    title: str,
    rows: Sequence[str],
    columns: Sequence[str],
    marked: Collection[int] = (),
    highest: float | None = None,
    text: Callable[[float], str] | None = None,
) -> NDArray[np.uint8]:
    """The picture [height, width, 3] of ``values`` [R, C]; NaN is grey.

    Args:
        rows, columns: their names; where there is no room for all, every n-th is written. Columns that are narrower
            than their names have them turned.
        marked: rows whose name is red, with a red bar before their cells.
        highest: the value of the darkest cell (default: the largest).
        text: what is written into a cell, where cells are large enough.

    >>> heat_map(np.eye(2), title="one", rows=["a", "b"], columns=["c", "d"]).shape[2]
    3
    """
    font = ImageFont.load_default(LETTER)
    rows, columns = list(map(_readable, rows)), list(map(_readable, columns))
    height, width = (max(1, min(40, HEIGHT // len(rows))), max(1, min(72, WIDTH // len(columns))))
    left = 2 * MARGIN + int(max(font.getlength(name) for name in rows))
    top = 3 * MARGIN + LETTER
    shades = _shades(values, highest)
    cells = _colours(shades).repeat(height, axis=0).repeat(width, axis=1)
    needed = left + max(cells.shape[1], int(font.getlength(title))) + MARGIN
    widest = int(max(font.getlength(name) for name in columns))
    turned = width < widest + MARGIN // 2 and width >= LETTER
    bottom = top + cells.shape[0] + MARGIN // 2
    picture = Image.new("RGB", (needed, bottom + (widest if turned else LETTER) + MARGIN + MARGIN // 2), "white")
    picture.paste(Image.fromarray(cells), (left, top))
    draw = ImageDraw.Draw(picture)
    draw.text((left, MARGIN), title, INK, font)
    for row in marked:
        draw.rectangle((left - 3, top + row * height, left - 1, top + (row + 1) * height - 1), WARNING)
    for row in range(0, len(rows), -(-LETTER // height)):
        draw.text(
            (left - MARGIN // 2 - 2, top + (row + 0.5) * height),
            rows[row],
            WARNING if row in marked else INK,
            font,
            anchor="rm",
        )
    if turned:
        for column, name in enumerate(columns):
            label = _turned(name, font)
            picture.paste(label, (left + int((column + 0.5) * width) - label.width // 2, bottom))
    else:
        for column in range(0, len(columns), -(-(widest + MARGIN // 2) // width)):
            draw.text((left + (column + 0.5) * width, bottom), columns[column], INK, font, anchor="ma")
    if text is not None and height >= LETTER:
        for (row, column), value in np.ndenumerate(values):
            words = "" if np.isnan(value) else text(float(value))
            if font.getlength(words) <= width - MARGIN // 2:
                where = (left + (column + 0.5) * width, top + (row + 0.5) * height)
                draw.text(where, words, PALE if shades[row, column] > 0.5 else INK, font, anchor="mm")
    return np.asarray(picture)


def _readable(name: str) -> str:
    """The name with what cannot be printed replaced, and cut if it is very long.

    >>> _readable("a\\nb"), len(_readable("x" * 500))
    ('a�b', 40)
    """
    letters = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in name)
    return letters if len(letters) <= LONGEST else letters[: LONGEST - 1] + "\N{HORIZONTAL ELLIPSIS}"


def _turned(name: str, font: Any) -> Image.Image:
    """The name written from top to bottom."""
    label = Image.new("RGB", (int(font.getlength(name)) + 1, LETTER + 4), "white")
    ImageDraw.Draw(label).text((0, label.height // 2), name, INK, font, anchor="lm")
    return label.transpose(Image.Transpose.ROTATE_270)


def _shades(values: NDArray[np.floating], highest: float | None) -> NDArray[np.floating]:
    """Values as shares of the highest."""
    if highest is None:
        highest = float(np.max(values, initial=0.0, where=~np.isnan(values)))
    return np.clip(values / highest, 0, 1) if highest > 0 else 0 * values


def _colours(shades: NDArray[np.floating]) -> NDArray[np.uint8]:
    known = ~np.isnan(shades)[..., None]
    mixed = np.where(known, LEAST + np.nan_to_num(shades)[..., None] * (MOST - LEAST), MISSING)
    return mixed.astype(np.uint8)
