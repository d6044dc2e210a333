"""A table for a paper, in the style of booktabs."""

import hashlib
import re

from fedsim.report.tables import BEST, SECOND, WORST, Field, Table

SPECIAL = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    **{character: f"{{{character}}}" for character in "[]*"},  # behind the end of a row, they would belong to it
}

LONGEST = 120
"""Bytes of a title in the name of a file, which has 255 with what stands around it."""

MOST_COLUMNS = 4
"""With deviations, beside the names of aggregators, in the text of a usual paper."""

MARKED = {BEST: r"\mathbf", SECOND: r"\underline"}


def latex(table: Table, caption: str) -> str:
    """A ``table`` environment; it needs the package booktabs, and a wide one, which is scaled to the line, graphicx.

    >>> from fedsim.report.tables import Field, Table
    >>> found = Table({}, ["fed_avg"], ["none"], {("fed_avg", "none"): Field({"0": 0.5}, mark="best")})
    >>> print(latex(found, "Accuracy."))
    \\begin{table}
    \\centering
    \\caption{Accuracy.}
    \\begin{tabular}{lr}
    \\toprule
    aggregator & none \\\\
    \\midrule
    fed\\_avg & $\\mathbf{0.500}$ \\\\
    \\bottomrule
    \\end{tabular}
    \\end{table}
    """
    wide = len(table.columns) > MOST_COLUMNS
    last = len(table.columns) - (WORST in table.columns)
    alignment = "l" + "r" * last + (r"@{\hspace{2em}}r" if WORST in table.columns else "")
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escaped(caption)}}}",
        *([r"\resizebox{\linewidth}{!}{%"] if wide else []),
        rf"\begin{{tabular}}{{{alignment}}}",
        r"\toprule",
        " & ".join([escaped(table.rows_are), *map(escaped, table.columns)]) + r" \\",
        r"\midrule",
        *(
            " & ".join([escaped(row), *(_field(table.fields[row, column]) for column in table.columns)]) + r" \\"
            for row in table.rows
        ),
        r"\bottomrule",
        r"\end{tabular}" + "}" * wide,
        r"\end{table}",
    ]
    return "\n".join(lines)


def escaped(text: str) -> str:
    r"""Text as LaTeX sets it.

    >>> escaped("50 % of x_1")
    '50 \\% of x\\_1'
    """
    return "".join(SPECIAL.get(character, character) for character in " ".join(text.split()))


def _field(entry: Field) -> str:
    number, plus, deviation = entry.number.partition(" ± ")
    set_as = MARKED.get(entry.mark, "")
    shown = f"{set_as}{{{number}}}" if set_as else number
    spread = rf" {{\scriptstyle \pm {deviation}}}" if plus else ""
    remark = escaped(f"({entry.remark})" if number and entry.remark else entry.remark)
    return " ".join(filter(None, [f"${shown}{spread}$" if number else "", remark])) or "--"


def file_stem(title: str) -> str:
    """A title as part of a file's name.

    >>> file_stem("data mnist5k, clients.count 8")
    'data-mnist5k-clients.count-8'

    A long one is cut, and ends in a digest of the whole.

    >>> file_stem("clients.count 8, " * 20)[-30:]
    'ents.count-8-clients.-b341b718'
    """
    stem = re.sub(r"[^\w.=-]+", "-", title).strip("-") or "all"
    if len(stem.encode()) <= LONGEST:
        return stem
    beginning = stem.encode()[:LONGEST].decode(errors="ignore")
    return f"{beginning}-{hashlib.blake2b(title.encode(), digest_size=4).hexdigest()}"
