"""The report as one page that needs no network, and everything in it as files beside it."""

from __future__ import annotations

import base64
import io
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from matplotlib.figure import Figure
from PIL import Image, UnidentifiedImageError

from fedsim import __version__
from fedsim.errors import ConfigError
from fedsim.files import write_text
from fedsim.report.cells import Cell, cells
from fedsim.report.exhibits import Exhibit, environments, exhibits, rows_and_columns
from fedsim.report.figures.style import style
from fedsim.report.scores import Score, how_best_is_chosen, score_table
from fedsim.report.study import COLUMNS, ROWS, Study
from fedsim.report.tables import WORST

PAGE = "report.html"

DOTS_PER_INCH = 200

PIXELS_PER_INCH = 110
"""How large a figure is in the page."""

MOST_SETTINGS = 60
"""Runs up to which the page holds all settings of each; beyond, it names their files."""


@dataclass(frozen=True)
class Anchor:
    """Where a number of a table leads to: its first run, and the commands of all of them."""

    place: str
    command: str


def write_report(study: Study, score: Score, folder: Path, command: str, reference: str | None = None) -> Path:
    """Write the page, ``figures/`` (PNG and PDF) and ``tables/`` (CSV, LaTeX and Markdown); the path of the page.

    Args:
        command: by which the report was made.
        reference: the aggregator that the others are compared with; None: the best.
    """
    for name in ("figures", "tables"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    with style():
        shown = list(_named_apart(exhibits(study, score, reference)))
        pictures = {one.name: _picture(one, folder / "figures") for one in shown if one.table is None}
    machines = environments(study)
    for one in [*shown, machines]:
        _write_numbers(one, folder / "tables")
    with_settings = len(study.entries) <= MOST_SETTINGS
    of_runs = cells(study.entries, score_table(study, score)["score"].tolist(), with_settings=with_settings)
    environment = Environment(
        loader=PackageLoader("fedsim.report", ""),
        autoescape=select_autoescape(default=True),
        undefined=StrictUndefined,
    )
    page = environment.get_template("page.html.j2").render(
        title=study.name,
        covers=rows_and_columns(study),
        judged=f"Runs are judged by {score}{how_best_is_chosen(study, score)}",
        states=_states(study),
        command=command,
        version=__version__,
        exhibits=shown,
        worst=WORST,
        pictures={name: base64.b64encode(content).decode() for name, content in pictures.items()},
        widths={one.name: _width(one) for one in shown},
        anchors=dict(_anchors(study, shown, of_runs)),
        machines=machines,
        cells=of_runs,
        axes=study.axes,
        show_settings=with_settings,
    )
    write_text(folder / PAGE, page)
    return folder / PAGE


def _named_apart(exhibits: Iterable[Exhibit]) -> Iterator[Exhibit]:
    """Exhibits whose names, which are those of their files, differ, also where a disk knows no capital letters."""
    taken: Counter[str] = Counter()
    for one in exhibits:
        taken[one.name.lower()] += 1
        count = taken[one.name.lower()]
        yield one if count == 1 else replace(one, name=f"{one.name}-{count}")


def _states(study: Study) -> str:
    counts = Counter(entry.state for entry in study.entries)
    return ", ".join(f"{count} {state}" for state, count in counts.items()) if set(counts) != {"done"} else ""


def _picture(exhibit: Exhibit, folder: Path) -> bytes:
    """The PNG of an exhibit, which is also written to a file, with a PDF beside it."""
    path = folder / f"{exhibit.name}.png"
    if exhibit.figure is None:
        assert exhibit.picture is not None
        try:
            with Image.open(exhibit.picture) as image:
                image.convert("RGB").save(path.with_suffix(".pdf"))
        except UnidentifiedImageError:
            raise ConfigError("DIRECTORY", f"{exhibit.picture} is damaged", "remove it") from None
        path.write_bytes(exhibit.picture.read_bytes())
        return path.read_bytes()
    path.write_bytes(_drawn(exhibit.figure, "png"))
    path.with_suffix(".pdf").write_bytes(_drawn(exhibit.figure, "pdf"))
    return path.read_bytes()


def _drawn(figure: Figure, kind: str) -> bytes:
    """The figure's file, the same bytes for the same figure."""
    buffer = io.BytesIO()
    nothing = {"CreationDate": None} if kind == "pdf" else {"Software": None}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # the page and the tables have every letter
        figure.savefig(buffer, format=kind, dpi=DOTS_PER_INCH, metadata=nothing)
    return buffer.getvalue()


def _width(exhibit: Exhibit) -> int | None:
    return None if exhibit.figure is None else round(exhibit.figure.get_figwidth() * PIXELS_PER_INCH)


def _write_numbers(exhibit: Exhibit, folder: Path) -> None:
    if exhibit.numbers is not None and len(exhibit.numbers.columns):
        write_text(folder / f"{exhibit.name}.csv", exhibit.numbers.to_csv(index=False, lineterminator="\n"))
    if exhibit.comparisons is not None:
        name = exhibit.name.replace("table", "comparisons", 1)
        write_text(folder / f"{name}.csv", exhibit.comparisons.to_csv(index=False, lineterminator="\n"))
    if exhibit.tex:
        write_text(folder / f"{exhibit.name}.tex", exhibit.tex + "\n")
    if exhibit.markdown:
        write_text(folder / f"{exhibit.name}.md", exhibit.markdown + "\n")


def _anchors(
    study: Study, shown: Sequence[Exhibit], of_runs: Sequence[Cell]
) -> Iterator[tuple[tuple[str, str, str], Anchor]]:
    """Where the fields of the tables lead to."""
    by_place: Mapping[tuple[str, ...], list[Cell]] = {}
    found: dict[tuple[str, ...], list[Cell]] = dict(by_place)
    keys = [*study.other_axes, ROWS, COLUMNS]
    for entry, cell in zip(study.entries, of_runs, strict=True):
        found.setdefault(tuple(entry.labels.get(axis, "") for axis in keys), []).append(cell)
    for exhibit in shown:
        for row, column in exhibit.table.fields if exhibit.table is not None else ():
            assert exhibit.table is not None
            attack = exhibit.table.fields[row, column].attack or column
            choice = [exhibit.table.choice.get(axis, "") for axis in study.other_axes]
            members = found.get((*choice, row, attack), [])
            if members:
                commands = "\n".join(cell.command for cell in members if cell.command)
                yield (exhibit.name, row, column), Anchor(members[0].anchor, commands)
