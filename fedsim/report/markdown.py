"""A table as Markdown, for a README on GitHub."""

import re
from collections.abc import Iterable, Sequence

import pandas as pd

from fedsim.report.tables import BEST, SECOND, Field, Table

SPECIAL = re.compile(r"""[\\`*\[\]~|] | (?<![^\W_])_ | _(?![^\W_])""", re.VERBOSE)
"""What Markdown reads as a sign of its own; an underscore between letters is none."""

ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "$": "&#36;", "#": "&#35;", "@": "&#64;"}
"""A backslash does not keep GitHub from HTML, mathematics, issues and users."""

MARKED = {BEST: "**{}**", SECOND: "<u>{}</u>"}

NO_BREAK = "\N{NO-BREAK SPACE}"


def markdown(table: Table, caption: str, remarks: Sequence[str] = ()) -> str:
    """A table of GitHub's Markdown, its caption in one line, and the remarks as a list.

    >>> from fedsim.report.tables import Field, Table
    >>> found = Table({}, ["fed_avg"], ["none"], {("fed_avg", "none"): Field({"0": 0.5}, mark="best")})
    >>> print(markdown(found, "Accuracy.", ["One seed"]))
    | aggregator | none |
    |:---|---:|
    | fed_avg | **0.500** |
    <BLANKLINE>
    Accuracy.
    <BLANKLINE>
    - One seed.
    """
    heads = [escaped(table.rows_are), *(escaped(column or "score") for column in table.columns)]
    rows = (
        [escaped(row or "-"), *(_field(table.fields[row, column]) for column in table.columns)] for row in table.rows
    )
    numeric = [False, *(True for _ in table.columns)]
    return "\n".join([*_grid(heads, rows, numeric), "", escaped(caption), *_list(remarks)])


def records(rows: pd.DataFrame, caption: str) -> str:
    """A data frame and its caption, numbers set flush right.

    >>> print(records(pd.DataFrame({"device": ["CPU"], "runs": [3]}), "Machines."))
    | device | runs |
    |:---|---:|
    | CPU | 3 |
    <BLANKLINE>
    Machines.
    """
    texts = [[escaped(str(value)) or "-" for value in row] for row in rows.itertuples(index=False)]
    numeric = [pd.api.types.is_numeric_dtype(kind) for kind in rows.dtypes]
    return "\n".join([*_grid([*map(escaped, rows.columns)], texts, numeric), "", escaped(caption)])


def _grid(heads: Sequence[str], rows: Iterable[Sequence[str]], numeric: Sequence[bool]) -> list[str]:
    """The lines of a table whose cells are Markdown already."""
    rule = "|".join("---:" if right else ":---" for right in numeric)
    return [_line(heads), f"|{rule}|", *map(_line, rows)]


def escaped(text: str) -> str:
    r"""Text as Markdown shows it, in one line.

    >>> print(escaped("a|b <i> cc_random *"))
    a\|b &lt;i&gt; cc_random \*
    """
    marked = SPECIAL.sub(r"\\\g<0>", " ".join(text.split()))
    return "".join(ENTITIES.get(character, character) for character in marked)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _list(remarks: Sequence[str]) -> list[str]:
    return ["", *(f"- {escaped(remark)}." for remark in remarks)] if remarks else []


def _field(entry: Field) -> str:
    """The number, its deviation, which may go to a second line of a narrow column, and a remark."""
    number, _, deviation = entry.number.partition(" ± ")
    shown = MARKED.get(entry.mark, "{}").format(number) if number else ""
    spread = f"±{NO_BREAK}{deviation}" if deviation else ""
    remark = escaped(f"({entry.remark})" if number and entry.remark else entry.remark)
    return " ".join(filter(None, [shown, spread, remark])) or "-"
