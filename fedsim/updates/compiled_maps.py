"""Compiled column maps: fused by ``torch.compile`` into one or two passes over the matrix, with the same bits."""

import types
import warnings
from collections.abc import Callable, Hashable, Sequence
from itertools import count
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from fedsim.updates.column_maps import BlockFunction, BlockKind, ColumnMap, PreparedMap

BLOCKS_AT_ONCE = 4
"""Blocks that are computed as one on a CPU: many enough that a call costs little, few enough for its caches."""

MOST_ROWS = 48
"""Maps of more rows stay eager: to compile their sorting networks would take minutes."""

MOST_CLASSES = 16
"""How many shape classes are compiled at most, each in seconds; a probe may ask for many numbers of rows."""

OPTIONS: dict[str, Any] = {"joint_graph_constant_folding": False}
"""Of torch's compiler: folding drops additions of 0, which turn -0 into 0."""

_NUMBERS = count()


class CompiledMaps:
    """Compiles each column map when it is first met, for its number of rows and width of a block.

    What is compiled serves any number of columns, and blocks at the ends, which are narrower, run as they are. So
    does a function that was not made by :func:`fedsim.updates.column_maps.column_map`, a map that cannot be
    compiled, and one whose first block gets other bits than without: nobody has to trust a compiler.

    Args:
        notify: is called with a sentence where a map is not compiled after all, once for each kind of reason.
        most: how many shape classes are compiled.

    Attributes:
        seconds: what compiling took so far, by the clock on the wall.
    """

    def __init__(self, notify: Callable[[str], None] = lambda sentence: None, most: int = MOST_CLASSES) -> None:
        self._notify, self._most = notify, most
        self._compiled: dict[Hashable, BlockFunction] = {}
        self._eager: set[Hashable] = set()
        self._notified: set[str] = set()
        self.seconds = 0.0

    @property
    def number(self) -> int:
        """How many maps are compiled, each for one shape class."""
        return len(self._compiled)

    def prepare(self, function: BlockFunction, arguments: Sequence[Any], kind: BlockKind) -> PreparedMap:
        """The map, which is compiled with its first block of full width."""
        eager = PreparedMap(lambda block: function(block, *arguments))
        if not isinstance(function, ColumnMap):
            return eager
        if kind.rows > MOST_ROWS:
            self._say("rows", f"column maps of more than {MOST_ROWS} rows are not compiled")
            return eager
        shape_class = (function, tuple(None if isinstance(one, Tensor) else one for one in arguments), kind)
        if shape_class in self._eager:
            return eager
        at_once = BLOCKS_AT_ONCE if kind.mergeable and kind.device.type != "cuda" else 1
        tensors = [value for value in arguments if isinstance(value, Tensor)]

        def run(block: Tensor) -> Any:
            if block.shape[1] != kind.width * at_once or shape_class in self._eager:
                return eager.run(block)
            if shape_class not in self._compiled:
                return self._compile(shape_class, function.function, arguments, block)
            return self._compiled[shape_class](block, *tensors)

        return PreparedMap(run, at_once)

    def _compile(
        self, shape_class: Hashable, function: BlockFunction, arguments: Sequence[Any], block: Tensor
    ) -> Any:
        """Compile the map and compare its result for a block with that of the map as it is, which is returned."""
        fused, tensors = _with_tensors(function, arguments), [one for one in arguments if isinstance(one, Tensor)]
        expected = fused(block, *tensors)
        if len(self._compiled) >= self._most:
            self._leave(shape_class, "limit", f"{self._most} column maps are compiled, and further ones are not")
            return expected
        start = perf_counter()
        compiled = torch.compile(fused, fullgraph=True, options=OPTIONS)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of torch, about what it looks through
                found = compiled(block, *tensors)
        except Exception as error:  # of the compiler, of its cache, of torch
            self._leave(shape_class, "failure", f"the column map {_name(function)} is not compiled: {reason(error)}")
            return expected
        finally:
            self.seconds += perf_counter() - start
        if not _same_bits(found, expected):
            self._leave(shape_class, "bits", f"the column map {_name(function)} is not compiled: it got other bits")
            return expected
        self._compiled[shape_class] = compiled
        return expected

    def _leave(self, shape_class: Hashable, kind: str, sentence: str) -> None:
        """Leave a map as it is."""
        self._eager.add(shape_class)
        self._say(kind, sentence)

    def _say(self, kind: str, sentence: str) -> None:
        if kind not in self._notified:
            self._notified.add(kind)
            self._notify(sentence)


def _with_tensors(function: BlockFunction, arguments: Sequence[Any]) -> BlockFunction:
    """The function of a block and of those arguments that are tensors; the others are fixed, and values rounded."""
    places = [place for place, value in enumerate(arguments) if isinstance(value, Tensor)]
    fixed = [None if isinstance(value, Tensor) else value for value in arguments]

    def of_tensors(block: Tensor, *tensors: Tensor) -> Any:
        filled = list(fixed)
        for place, value in zip(places, tensors, strict=True):
            filled[place] = value
        result = function(block, *filled)
        if isinstance(result, Tensor):
            return result.to(block.dtype)
        values, tally = result
        return values.to(block.dtype), tally

    # torch compiles one code object a few times at most, and then nothing more, without a word; and what differs
    # between two of the same name, it compiles for any size. So each has its own code and name.
    code = of_tensors.__code__.replace(co_name=f"{_name(function)}_{next(_NUMBERS)}")
    return types.FunctionType(code, of_tensors.__globals__, code.co_name, None, of_tensors.__closure__)


def _same_bits(found: Any, expected: Any) -> bool:
    """Whether two results of a map agree in every bit."""
    if isinstance(expected, Tensor):
        one, other = (value.contiguous().view(torch.uint8) for value in (found, expected))
        return found.dtype == expected.dtype and torch.equal(one, other)
    return all(_same_bits(*pair) for pair in zip(found, expected, strict=True))


def _name(function: BlockFunction) -> str:
    return getattr(function, "__name__", repr(function))


def reason(error: BaseException) -> str:
    """What a compiler complains of, in a line."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = next((line for line in lines if "error:" in line), next(iter(lines), ""))
    return f"{type(error).__name__}: {said[:200]}"
