"""What a sweep runs, in words: the settings that all cells share, and those of each choice on an axis."""

from collections.abc import Iterator, Sequence

from fedsim.sweep.plan import NOT_WHAT_COMES_OUT, Cell
from fedsim.yaml_text import yaml_line

LEFT_OUT = (*NOT_WHAT_COMES_OUT, "runtime", "evaluation")


def settings_lines(cells: Sequence[Cell]) -> Iterator[str]:
    """Each section of the resolved configurations once, under the cells that have it.

    >>> from pathlib import Path
    >>> rows = [("krum", 2, 0), ("krum", 2, 1), ("fedavg", None, 0), ("fedavg", None, 1)]
    >>> cells = [
    ...     Cell({"rule": rule, "seed": str(seed)}, "", {"rounds": 3, "seed": seed, "rule": {"f": f}}, 5, Path())
    ...     for rule, f, seed in rows
    ... ]
    >>> print(*settings_lines(cells), sep="\\n")
    every cell: rounds: 3
    seed=0: seed: 0
    seed=1: seed: 1
    rule=krum: rule: {f: 2}
    rule=fedavg: rule: {f: null}
    """
    for key in cells[0].config if cells else ():
        if key not in LEFT_OUT:
            yield from _section(key, cells)


def _section(key: str, cells: Sequence[Cell]) -> Iterator[str]:
    written = [yaml_line(cell.config[key]) for cell in cells]
    if len(set(written)) == 1:
        yield f"every cell: {key}: {written[0]}"
        return
    for axis in cells[0].labels:
        of_label: dict[str, set[str]] = {}
        for cell, text in zip(cells, written, strict=True):
            of_label.setdefault(cell.labels[axis], set()).add(text)
        if all(len(texts) == 1 for texts in of_label.values()):
            yield from (f"{axis}={label}: {key}: {next(iter(texts))}" for label, texts in of_label.items())
            return
    yield from (f"{cell}: {key}: {text}" for cell, text in zip(cells, written, strict=True))
