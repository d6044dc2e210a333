"""The examples in the docstrings of the installed ByzFL, read from its files without importing it.

They look like doctests and are not: lines that continue a statement begin with ``>>>`` too, and arrays are printed
with and without commas. So statements are taken in runs of such lines, and results number by number.
"""

import ast
import importlib.util
import re
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import Tensor

from support import byzfl_adapter

RUN = re.compile(r"((?:^ *>>>.*\n?)+)((?:^ *(?!>>>)\S.*\n?)*)", re.MULTILINE)
"""Lines with a prompt, and the lines after them until a blank one."""
PRINTED = re.compile(r"(array|tensor)\((.*)\)", re.DOTALL)
NUMBER = re.compile(r"[-+]?(?:inf|nan|\d+\.?\d*(?:e[-+]?\d+)?)")
DIGITS = {"array": 8, "tensor": 4}
"""How many decimals numpy and torch print, but for zeros at the end."""


@dataclass(frozen=True)
class Example:
    """Statements; the last is an expression if they print something.

    Attributes:
        code: the statements.
        kind: what is printed, ``array`` or ``tensor``; empty for nothing.
        printed: the numbers, in their shape.
    """

    code: str
    kind: str = ""
    printed: byzfl_adapter.Array | None = None

    def run(self, names: dict[str, Any]) -> Any:
        """Run the statements with and into these names; the value of the last one."""
        *statements, last = ast.parse(self.code).body
        if not isinstance(last, ast.Expr):
            statements.append(last)
        exec(compile(ast.Module(statements, []), "an example of ByzFL", "exec"), names)
        return eval(compile(ast.Expression(last.value), "", "eval"), names) if isinstance(last, ast.Expr) else None

    def prints(self, value: Any) -> bool:
        """Whether the value is of the kind and the shape that is printed, and equal to the last digit printed."""
        half = 0.5 * 10.0 ** -DIGITS[self.kind]  # of the last digit
        same_kind = isinstance(value, Tensor if self.kind == "tensor" else np.ndarray)
        same_shape = tuple(value.shape) == self.printed.shape
        return same_kind and same_shape and np.allclose(value, self.printed, rtol=0, atol=1.02 * half)


@cache
def docstrings(file: str) -> dict[str, str]:
    """The docstring of every class in a file of the installed ByzFL, such as ``attacks/attacks.py``."""
    package = importlib.util.find_spec("byzfl")
    assert package is not None, "ByzFL is not installed"
    assert package.submodule_search_locations
    source = Path(package.submodule_search_locations[0], file).read_text(encoding="utf-8")
    classes = [node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)]
    assert classes, f"{file} has no classes"
    return {node.name: ast.get_docstring(node) or "" for node in classes}


def examples(docstring: str) -> list[Example]:
    """The examples in a docstring, in their order.

    Raises:
        AssertionError: there is none that prints an array, or a tensor, or one cannot be understood.
    """
    found = [_example(re.sub(r"^ *>>> ?", "", code, flags=re.M), text) for code, text in RUN.findall(docstring)]
    assert {"array", "tensor"} <= {example.kind for example in found}, "not an example of each kind"
    return found


def _example(code: str, text: str) -> Example:
    prints = isinstance(ast.parse(code).body[-1], ast.Expr)
    assert prints == bool(text), f"not what an example prints: {text!r} after\n{code}"
    if not prints:
        return Example(code)
    match = PRINTED.fullmatch(text.strip())
    assert match, f"neither an array nor a tensor: {text}"
    kind, body = match.groups()
    assert not NUMBER.sub("", body).strip("[], \n"), f"more than numbers: {text}"
    rows = [[float(number) for number in NUMBER.findall(row)] for row in re.findall(r"[^][]+", body)]
    filled = [row for row in rows if row]
    return Example(code, kind, np.array(filled if "[[" in body else filled[0]))


def run_examples(docstring: str, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Example, Any, dict[str, Any]]]:
    """Run a class's examples with the adapter in the place of ByzFL.

    Returns:
        Every example that prints something, with its value here and the names it was computed from.
    """
    monkeypatch.setitem(sys.modules, "byzfl", byzfl_adapter)
    names: dict[str, Any] = {}
    results = [(example, example.run(names), dict(names)) for example in examples(docstring)]
    return [result for result in results if result[0].kind]
