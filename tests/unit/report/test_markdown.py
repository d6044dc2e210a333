"""Tables as Markdown, read back by GitHub's rules: pipes divide a line first, then backslashes and entities count."""

import re
from html import unescape

import pytest

from fedsim.report.markdown import markdown
from fedsim.report.tables import BEST, SECOND, WORST, Field, Table

ODD = [
    "a|b",
    r"a\|b",
    "\\",
    r"\\",
    "<b>x</b>",
    "&lt;",
    "*x*",
    "_x_",
    "fed_avg",
    "`x`",
    "[x](y)",
    "$x$",
    "#1",
    "@me",
    "~~x~~",
]


def cells(line: str) -> list[str]:
    """Of a line of a table, as they are shown."""
    found = re.findall(r"((?:\\.|[^\\|])*)\|", line.removeprefix("|"))
    return [unescape(re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", cell)).strip() for cell in found]


def test_a_table_has_marks_deviations_remarks_and_the_worst_case_last() -> None:
    fields = {
        ("a", "x"): Field({"0": 0.91, "1": 0.93}, mark=BEST),
        ("a", WORST): Field({"0": 0.91, "1": 0.93}, mark=SECOND, attack="x"),
        ("b", "x"): Field({"0": 0.5}, {"failed": 1}),
        ("b", WORST): Field({}, {"diverged": 1}),
    }
    text = markdown(Table({}, ["a", "b"], ["x", WORST], fields), "Accuracy.", ["one", "two"])
    assert text.replace("\N{NO-BREAK SPACE}", " ").splitlines() == [
        "| aggregator | x | worst |",
        "|:---|---:|---:|",
        "| a | **0.920** ± 0.014 | <u>0.920</u> ± 0.014 |",
        "| b | 0.500 (1 failed) | diverged |",
        "",
        "Accuracy.",
        "",
        "- one.",
        "- two.",
    ]


@pytest.mark.parametrize("label", ODD)
def test_labels_are_shown_as_they_are(label: str) -> None:
    fields = {(label, label): Field({"0": 0.5})}
    head, _, row, _, caption = markdown(Table({}, [label], [label], fields), label).splitlines()
    assert cells(head) == ["aggregator", label]
    assert cells(row) == [label, "0.500"]
    assert cells(f"{caption}|") == [label]
    assert not re.search(r"[<>$#@]|(?<!\\)[*`~\[]", row.replace("&#", "").replace("0.500", ""))


def test_a_line_break_in_a_label_does_not_break_the_table() -> None:
    assert len(markdown(Table({}, ["a\n|b"], ["x"], {("a\n|b", "x"): Field()}), "c\nd").splitlines()) == 5
