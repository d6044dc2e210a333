"""The lines of a run that is resumed: checked against their copy, and restored from it where they are damaged."""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import groupby

from fedsim.records.round_record import RoundRecord

NAMED = 12
"""Ranges of rounds that a message names; of the rest it says how many there are."""


ROUND = re.compile(r'\{"round": (\d+)')


@dataclass(frozen=True)
class Line:
    """A line of ``metrics.jsonl``, without its end."""

    round: int
    text: str

    @property
    def results(self) -> str:
        """Everything but the times, which stand last."""
        return self.text.rpartition(', "times": ')[0] or self.text


def digest(before: str, text: str) -> str:
    """Of a text behind what it belongs to: a line of its run, or the results of a line behind the digest so far."""
    return hashlib.blake2b(f"{before}\n{text}".encode(), digest_size=8).hexdigest()


def digest_of_all(lines: Iterable[Line], run: str) -> str:
    """Of the results of all lines of a run."""
    return reduce(lambda so_far, line: digest(so_far, line.results), lines, run)


def copy_of(line: Line, run: str) -> str:
    """A line as it stands in the copy, behind the digest that binds it to its run."""
    return f"{digest(run, line.text)} {line.text}"


def verified_lines(copy: bytes, run: str) -> dict[int, Line]:
    """The lines in a copy that are as this run has written them, by their round."""
    found = {}
    for entry in copy.decode("utf-8", "replace").split("\n"):
        said, _, text = entry.partition(" ")
        match = ROUND.match(text)
        if match and digest(run, text) == said:
            found[int(match[1])] = Line(int(match[1]), text)
    return found


def lines_in(metrics: bytes, verified: Mapping[int, Line]) -> list[Line | None]:
    """The lines of a file in their order, None for each that is damaged."""
    known = {line.text.encode(): line for line in verified.values()}
    texts = metrics.removesuffix(b"\n").split(b"\n") if metrics else []
    return [known.get(text) or _line(text) for text in texts]


def _line(text: bytes) -> Line | None:
    record = record_of(text)
    return None if record is None else Line(record.round, text.decode())


def record_of(text: bytes) -> RoundRecord | None:
    """The record in a line; None if it is damaged."""
    try:
        return RoundRecord.from_dict(json.loads(text.decode()))
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return None


@dataclass(frozen=True)
class Recovery:
    """The lines of the rounds that a resumed run has behind it.

    Attributes:
        lines: in the order of their rounds.
        restored: rounds whose line was missing or damaged, and is taken from the copy.
        lost: rounds that have no line any more.
        doubtful: rounds whose line may not be the one that the run has written.
        disordered: whether lines stood in another order, or among others.
        retimed: rounds whose times are not those of the copy; they are no results, and stay.
    """

    lines: Sequence[Line]
    restored: Sequence[int] = ()
    lost: Sequence[int] = ()
    doubtful: Sequence[int] = ()
    disordered: bool = False
    retimed: Sequence[int] = ()

    def problem(self, copy_name: str) -> str:
        """What was wrong, in words; empty if nothing was."""
        parts = [
            f"{rounds(self.restored)} restored from {copy_name}" if self.restored else "",
            f"{rounds(self.lost)} lost" if self.lost else "",
            f"{rounds(self.doubtful)} perhaps not as this run has recorded them" if self.doubtful else "",
            "its lines are in order again" if self.disordered else "",
            f"{rounds(self.retimed)} kept with other times than in {copy_name}" if self.retimed else "",
        ]
        return "; ".join(filter(None, parts))


def recover(metrics: bytes, copy: bytes, done: int, run: str, known: str | None) -> Recovery:
    """The lines of rounds 1 to ``done``.

    Args:
        metrics: what ``metrics.jsonl`` holds; lines of later rounds, and what a crash has cut off, are none of them.
        copy: what its copy holds.
        known: the digest of all these lines, as the checkpoint has it; None if it does not.
    """
    verified = verified_lines(copy, run)
    found = _up_to(done, lines_in(metrics, verified))
    own: dict[int, list[Line]] = {}
    for line in filter(None, found):
        own.setdefault(line.round, []).append(line)
    chosen = {number: _choose(own.get(number, []), verified.get(number)) for number in range(1, done + 1)}
    lines = [line for line in chosen.values() if line]
    restored = [number for number, line in chosen.items() if line and line not in own.get(number, [])]
    lost = [number for number, line in chosen.items() if line is None]
    retimed = [line.round for line in lines if verified.get(line.round, line) != line]
    unverified = [line.round for line in lines if line.round not in verified]
    if known is None:  # of an older run: what may be seen is that a round has two different lines
        doubtful = [number for number in unverified if len({*own[number]}) > 1]
    elif known == digest_of_all(lines, run):
        doubtful = []
    else:
        doubtful = unverified if unverified or lost else list(chosen)
    in_order = [number for number in chosen if number in own]
    disordered = [line.round for line in found if line] != in_order or (None in found and not (restored or lost))
    return Recovery(lines, restored, lost, doubtful, disordered, retimed)


def _up_to(done: int, lines: Sequence[Line | None]) -> Sequence[Line | None]:
    """The lines without those at the end that belong to later rounds, or that a crash has cut off."""
    end = len(lines)
    while end and ((line := lines[end - 1]) is None or line.round > done):
        end -= 1
    return lines[:end]


def _choose(own: Sequence[Line], verified: Line | None) -> Line | None:
    """The line of a round: its own where that is verified or there is nothing to verify it by, else its copy."""
    if verified is None:
        return own[0] if own else None
    return next((line for line in own if line.results == verified.results), verified)


def rounds(numbers: Sequence[int]) -> str:
    """Rounds in words, as the subject of a sentence.

    >>> rounds([3]), rounds([3, 5, 6, 7])
    ('round 3 is', 'rounds 3, 5 to 7 are')
    """
    ranges = list(_ranges(numbers))
    named = [str(first) if first == last else f"{first} to {last}" for first, last in ranges[:NAMED]]
    more = ["..."] if ranges[NAMED:] else []
    return f"round{'s' * (len(numbers) > 1)} {', '.join([*named, *more])} {'are' if len(numbers) > 1 else 'is'}"


def _ranges(numbers: Sequence[int]) -> Iterator[tuple[int, int]]:
    for _, group in groupby(enumerate(numbers), key=lambda pair: pair[1] - pair[0]):
        members = [number for _, number in group]
        yield members[0], members[-1]
