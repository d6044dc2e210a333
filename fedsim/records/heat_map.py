"""A matrix as a picture: rows and columns with names, cells from white (least) to dark blue (most)."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_agg import RendererAgg

DPI = 100

WIDTH, HEIGHT, MARGIN = 720, 440, 12
"""Pixels: about the size of all cells together, and the space around the picture."""

WIDEST, HIGHEST = 72, 40
"""Pixels of a cell at most."""

LETTER, SMALL = 10.0, 9.0
"""Points of names, and of what is written into cells."""

LONGEST = 40
"""Letters of a name; longer ones are cut."""

INK, PALE, WARNING, MISSING = "#282828", "#fafafa", "#c81e1e", "#e1e1e1"


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
        marked: rows with a red bar, whose name is red and bold.
        highest: the value of the darkest cell (default: the largest).
        text: what is written into a cell, where cells are large enough; elsewhere a scale tells the values.

    >>> heat_map(np.eye(2), title="one", rows=["a", "b"], columns=["c", "d"]).shape[2]
    3
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # slow to import, and only a rank that draws needs it
    from matplotlib.figure import Figure

    cell_width, cell_height = _cell(len(columns), WIDTH, WIDEST), _cell(len(rows), HEIGHT, HIGHEST)
    width, height = cell_width * len(columns), cell_height * len(rows)
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI)
    canvas = FigureCanvasAgg(figure)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # letters that the font lacks are drawn as boxes
        renderer = canvas.get_renderer()
        axes = figure.add_axes((0, 0, 1, 1))
        image = _paint(axes, values, highest)
        axes.set_title(title, loc="left", fontsize=LETTER, color=INK, parse_math=False)
        _name_rows(axes, [_readable(name) for name in rows], marked, cell_height)
        _name_columns(axes, [_readable(name) for name in columns], cell_width, renderer)
        if text is None or not _write(axes, values, image, text, cell_width, cell_height):
            scale = figure.colorbar(image, cax=axes.inset_axes((1 + 10 / width, 0, 12 / width, 1)))
            scale.outline.set_visible(False)
            scale.ax.tick_params(labelsize=SMALL, labelcolor=INK, color=INK)
        # The figure so far is as large as the cells; now it grows by what stands around them.
        around = axes.get_tightbbox(renderer)
        assert around is not None
        left, below = math.ceil(MARGIN - around.x0), math.ceil(MARGIN - around.y0)
        right, top = left + math.ceil(around.x1) + MARGIN, below + math.ceil(around.y1) + MARGIN
        figure.set_size_inches(right / DPI, top / DPI)
        axes.set_position((left / right, below / top, width / right, height / top))
        canvas.draw()
    return np.array(canvas.buffer_rgba())[..., :3].copy()


def _cell(count: int, room: int, most: int) -> int:
    """Pixels of one of ``count`` cells in a row or column."""
    return max(1, min(most, room // count))


def _readable(name: str) -> str:
    """The name with what cannot be printed replaced, and cut if it is very long."""
    letters = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in name)
    return letters if len(letters) <= LONGEST else letters[: LONGEST - 1] + "\N{HORIZONTAL ELLIPSIS}"


def _paint(axes: Axes, values: NDArray[np.floating], highest: float | None) -> Any:
    from matplotlib import colormaps

    if highest is None:
        highest = float(np.max(values, initial=0.0, where=~np.isnan(values)))
    colours = colormaps["Blues"].with_extremes(bad=MISSING)
    image = axes.imshow(
        values, cmap=colours, vmin=0, vmax=highest if highest > 0 else 1, aspect="auto", interpolation="nearest"
    )
    axes.tick_params(length=0, labelsize=LETTER, labelcolor=INK)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return image


def _name_rows(axes: Axes, names: Sequence[str], marked: Collection[int], height: int) -> None:
    shown = range(0, len(names), math.ceil(_line() / height))
    axes.set_yticks(shown, [names[row] for row in shown], parse_math=False)
    axes.tick_params(axis="y", pad=8)
    for row, label in zip(shown, axes.get_yticklabels(), strict=True):
        if row in marked:
            label.set(color=WARNING, weight="bold")
    bars = np.array(sorted(marked), dtype=float)
    beside = np.full(len(bars), -4 / axes.bbox.width)
    drawn = axes.vlines(beside, bars - 0.5, bars + 0.5, colors=WARNING, linewidth=3, clip_on=False)
    drawn.set_transform(axes.get_yaxis_transform())


def _name_columns(axes: Axes, names: Sequence[str], width: int, renderer: RendererAgg) -> None:
    from matplotlib.font_manager import FontProperties

    font = FontProperties(size=LETTER)
    widest = max(renderer.get_text_width_height_descent(name, font, ismath=False)[0] for name in names)
    flat, turned = math.ceil((widest + MARGIN) / width), math.ceil(_line() / width)
    turn = flat > 1 == turned or flat > 2 * turned
    shown = range(0, len(names), turned if turn else flat)
    axes.set_xticks(shown, [names[column] for column in shown], rotation=90 if turn else 0, parse_math=False)


def _write(
    axes: Axes,
    values: NDArray[np.floating],
    image: Any,
    text: Callable[[float], str],
    width: int,
    height: int,
) -> bool:
    """Write values into their cells, if there is room for all of them."""
    words = {place: text(float(value)) for place, value in np.ndenumerate(values) if not np.isnan(value)}
    longest = max(map(len, words.values()), default=0)
    if height < _line() or width < 0.65 * longest * SMALL * DPI / 72:  # a digit is 0.64 of its height wide
        return False
    shades = image.norm(values)
    for (row, column), word in words.items():
        if word:
            label = axes.text(column, row, word, ha="center", va="center", fontsize=SMALL, parse_math=False)
            label.set(color=PALE if shades[row, column] > 0.55 else INK, in_layout=False, clip_on=False)
    return True


def _line() -> float:
    """Pixels that a line of names needs."""
    return 1.2 * LETTER * DPI / 72
