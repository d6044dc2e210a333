"""Docstrings as Markdown."""

import re
import textwrap
from collections.abc import Iterator, Sequence


def blocks(docstring: str, imports: Sequence[str] = ()) -> Iterator[str]:
    """The lines of a docstring as Markdown: indented formulas and examples become code blocks.

    Args:
        imports: lines in front of its example.

    >>> print("\\n".join(blocks("A mean of ``K`` rows:\\n\\n    x = sum_k g_k / K")))
    A mean of `K` rows:
    <BLANKLINE>
    ```text
    x = sum_k g_k / K
    ```
    <BLANKLINE>
    """
    for language, lines in _runs(docstring.split("\n")):
        if language is None:
            yield from map(running_text, lines)
        else:
            yield f"```{language}"
            yield from imports if language == "pycon" else ()
            yield from lines
            yield "```"
        yield ""


def _runs(lines: list[str]) -> Iterator[tuple[str | None, list[str]]]:
    """Runs of lines that belong together, without the blank lines between them; language None is running text."""
    language: str | None = None
    run: list[str] = []
    in_list = False
    for line in [*lines, ""]:
        in_list = line.startswith("- ") or (in_list and line.startswith("  "))
        if line.startswith(">>> "):
            kind: str | None = "pycon"
        elif run and language == "pycon":  # what an example prints, up to the next blank line
            kind = "pycon"
        else:
            kind = "text" if line.startswith("    ") and not in_list else None
        if run and (not line or kind != language):
            yield language, _dedented(run) if language == "text" else run
            run = []
        if line:
            language = kind
            run.append(line)


def _dedented(lines: list[str]) -> list[str]:
    return textwrap.dedent("\n".join(lines)).split("\n")


ROLE = re.compile(r":[a-z]+:`~?(?:[\w.]*\.)?(\w+)`")
"""A cross-reference such as :class:`~fedsim.registry.Reference`, of which a page shows the last name."""

CODE = re.compile(r"(`[^`]+`)")


def running_text(text: str) -> str:
    """Running text of a docstring as Markdown: what would be markup there by accident is escaped.

    >>> print(running_text("``x`` of :meth:`~fedsim.attacks.base.Attack.craft`: 2 * y ~ N(0, 1), <z> is z"))
    `x` of `craft`: 2 \\* y \\~ N(0, 1), \\<z> is z
    """
    pieces = CODE.split(ROLE.sub(r"`\1`", text.replace("``", "`")))
    pieces[::2] = [re.sub(r"([*~]|<(?=[a-zA-Z/!?]))", r"\\\1", piece) for piece in pieces[::2]]
    return "".join(pieces)
