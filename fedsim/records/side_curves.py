"""Curves of both sides as a picture, so that their colours are the same in every run.

TensorBoard chooses the colours of its charts by run and lets nobody else do so. Drawn with Pillow, like
:mod:`fedsim.records.heat_map`.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from fedsim.records.sides import BYZANTINE, HONEST, Spread

COLOURS = {HONEST: (0, 114, 178), BYZANTINE: (213, 94, 0)}
"""Blue and vermilion, which colour-blind readers can tell apart."""

INK, GRID, BAND = (40, 40, 40), (225, 225, 225), 50
"""Colours, and how opaque a band is (of 255)."""

WIDTH, HEIGHT, LETTER, THICK = 640, 400, 18, 4
LEFT, RIGHT, ABOVE, BELOW = 90, 20, 44, 40
"""Pixels of the picture, a letter and a line, and around the axes."""

Curve = Sequence[tuple[int, Spread]]
"""The values of a side by round, in their order."""


def side_curves(name: str, curves: Mapping[str, Curve]) -> NDArray[np.uint8]:
    """The picture [height, width, 3] of a value: the mean of each side over rounds, in a band from least to most.

    Args:
        curves: by side; at least one, and none is empty.

    >>> side_curves("trust", {HONEST: [(1, Spread(0.5, 0.0, 1.0))]}).shape
    (400, 640, 3)
    """
    picture = Image.new("RGB", (WIDTH, HEIGHT), "white")
    draw, font = ImageDraw.Draw(picture, "RGBA"), ImageFont.load_default(LETTER)
    rounds = [at_round for curve in curves.values() for at_round, _ in curve]
    first, last = min(rounds), max(rounds)
    low, high = _limits([spread for curve in curves.values() for _, spread in curve])
    right, bottom = WIDTH - RIGHT, HEIGHT - BELOW

    def place(at_round: int, value: float) -> tuple[float, float]:
        value = min(max(value, low), high)  # a mean of the largest numbers overflows
        across = (at_round - first) / max(1, last - first)
        return LEFT + across * (right - LEFT), bottom - (value - low) / (high - low) * (bottom - ABOVE)

    at = float(LEFT)
    for words, colour in ((f"{name}:", INK), *COLOURS.items()):
        draw.text((at, 10), words, colour, font)
        at += font.getlength(words) + LETTER
    for value in (low, low / 2 + high / 2, high):
        height = place(first, value)[1]
        draw.line((LEFT, height, right, height), GRID)
        draw.text((LEFT - 8, height), f"{value:.3g}", INK, font, anchor="rm")
    for at_round, anchor in {first: "la", last: "ra" if last > first else "la"}.items():
        draw.text((place(at_round, low)[0], bottom + 10), f"round {at_round}", INK, font, anchor=anchor)
    for side, curve in curves.items():
        above = [place(at_round, spread.most) for at_round, spread in curve]
        below = [place(at_round, spread.least) for at_round, spread in curve]
        draw.polygon([*above, *below[::-1]], (*COLOURS[side], BAND))
        line = [place(at_round, spread.mean) for at_round, spread in curve]
        draw.line(line, COLOURS[side], THICK, "curve")
        for x, y in (line[0], line[-1]):  # a round alone has no line
            draw.ellipse((x - THICK, y - THICK, x + THICK, y + THICK), COLOURS[side])
    return np.asarray(picture)


def _limits(spreads: Sequence[Spread]) -> tuple[float, float]:
    """The axis from the least to the most, never empty and always finite."""
    largest = np.finfo(np.float32).max
    low = float(np.clip(min(spread.least for spread in spreads), -largest, largest))
    high = float(np.clip(max(spread.most for spread in spreads), -largest, largest))
    room = 0.0 if high > low else abs(high) / 10 or 0.5
    return low - room, high + room
