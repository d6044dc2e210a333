"""Contents of metrics.jsonl and summary.json: lines as runs write them, and what may have become of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

from fuzz.damage import JUNK_LINES

Bytes = st.SearchStrategy[bytes]

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 2**70) | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
)
"""Whatever JSON can hold, and the NaN and infinity that only Python writes."""


@st.composite
def changed(draw: st.DrawFn, line: bytes) -> bytes:
    """A line with another value somewhere in it, or without one of its keys."""
    values = json.loads(line)
    holder: Any = values
    while True:
        key = draw(st.sampled_from(sorted(holder) if isinstance(holder, dict) else range(len(holder))))
        if not isinstance(holder[key], dict | list) or not holder[key] or draw(st.booleans()):
            break
        holder = holder[key]
    if draw(st.booleans()):
        del holder[key]
    else:
        holder[key] = draw(VALUES)
    return json.dumps(values).encode()


@st.composite
def cut(draw: st.DrawFn, line: bytes) -> bytes:
    """A line of which a piece is missing, or other bytes."""
    start, end = sorted(draw(st.tuples(*[st.integers(0, len(line))] * 2)))
    return line[:start] + draw(st.binary(max_size=3)) + line[end:]


def lines_like(line: bytes) -> Bytes:
    """A line, most often as it was."""
    other = st.one_of(changed(line), cut(line), st.sampled_from(JUNK_LINES), VALUES.map(_dumped))
    return st.integers(0, 3).flatmap(lambda drawn: other if drawn == 0 else st.just(line))


def _dumped(value: Any) -> bytes:
    return json.dumps(value).encode()


@st.composite
def metric_files(draw: st.DrawFn, lines: Sequence[bytes]) -> bytes:
    """The lines of a run, some of them changed, missing, there twice or in another order."""
    order = list(range(len(lines)))
    if draw(st.integers(0, 3)) == 0:
        order = draw(st.lists(st.sampled_from(order), max_size=len(lines) + 2))
    written = [draw(lines_like(lines[position])) for position in order]
    return b"\n".join(written) + draw(st.sampled_from([b"\n", b"\n", b"", b"\n\n", b"\r\n", b"\0"]))


def summary_files(summary: bytes) -> Bytes:
    """A summary, changed in the same ways."""
    return lines_like(summary)
