"""What can go wrong, said in words a user can act on."""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from itertools import accumulate

MESSAGE_LENGTH = 270
"""Characters of a message, whatever value it quotes: with what is printed in front, a sentence of 300. One that names
paths, which are of no use cut, may have twice as many."""

LONGEST_PATH = 150
"""Characters of a word that is shown in whole."""


LONGEST_WORD = 100
"""Letters of a word that are compared with the valid ones."""

NEARLY_THE_SAME = 0.8
"""Likeness of two words of which one is the other, mistyped."""

LONGEST_VALUE = 50
"""Letters that are shown of the value of a key that does not exist."""


class FedsimError(Exception):
    """Base of every error that fedsim raises on purpose."""


class FedsimWarning(UserWarning):
    """Something has no effect or was repaired; the run goes on."""

    def __init__(self, text: str) -> None:
        super().__init__(sentence(text))


class ConfigError(FedsimError, ValueError):
    """A user's setting cannot be used.

    Args:
        key: dotted key, for example ``aggregator.sparsity`` (empty for a file-level problem).
        problem: what is wrong, with the value.
        remedy: what to do about it.

    >>> str(ConfigError("rounds", "-1 is below 1", "give a number of rounds"))
    'rounds: -1 is below 1; give a number of rounds'
    """

    def __init__(self, key: str, problem: str, remedy: str = "") -> None:
        self.key, self.problem, self.remedy = key, problem, remedy
        super().__init__(_sentence(*map(_readable, (key, problem, remedy))))

    def under(self, prefix: str) -> "ConfigError":
        """The same error, its key seen from the section ``prefix``."""
        return ConfigError(".".join(filter(None, [prefix, self.key])), self.problem, self.remedy)


def _sentence(key: str, problem: str, remedy: str) -> str:
    """One sentence of limited length: the problem, which quotes the value, gives way first."""
    key = shortened(key, _length_of(key) // 3)
    length = _length_of(key + problem + remedy) - len(f"{key}: ; ")
    problem = shortened(problem, max(MESSAGE_LENGTH // 3, length - len(remedy)))
    remedy = shortened(remedy, length - len(problem))
    return ": ".join(filter(None, [key, "; ".join(filter(None, [problem, remedy]))]))


def sentence(text: str) -> str:
    """A text that quotes what users wrote, in one line of limited length that can be printed."""
    text = _readable(text)
    return shortened(text, _length_of(text))


def _length_of(message: str) -> int:
    return MESSAGE_LENGTH * (2 if "/" in message else 1)


def _readable(text: str) -> str:
    """The text in one line that can be printed, without endless words."""
    return re.sub(rf"\S{{{LONGEST_PATH + 1},}}", lambda word: shortened(word[0], LONGEST_PATH // 3), escaped(text))


def shortened(text: str, length: int) -> str:
    """The beginning and the end of a text that is longer than ``length``.

    >>> shortened("0123456789" * 9, 15)
    '012345 ... 6789'
    """
    if len(text) <= length:
        return text
    end = max(0, length - 5) * 2 // 5
    return f"{text[: max(0, length - 5 - end)]} ... {text[len(text) - end :]}"


def escaped(text: str) -> str:
    """The text in one line, with everything escaped that would move a terminal's cursor, hide or reorder letters.

    >>> escaped("tab\\there, \\x1b[31m, caf\\udce9, café")
    'tab\\\\there, \\\\x1b[31m, caf\\\\udce9, café'
    """
    return "".join(letter if letter.isprintable() else _escape(letter) for letter in text)


def _escape(letter: str) -> str:
    return letter.encode("unicode_escape").decode("ascii")


@contextmanager
def keys_under(prefix: str) -> Iterator[None]:
    """Put the keys of ConfigErrors from the block under a section."""
    try:
        yield
    except ConfigError as error:
        raise error.under(prefix) from None


class RankError(FedsimError):
    """A rank is missing, late or out of step; the message names it."""


class CollectiveError(RankError):
    """A collective of all ranks failed: one of them has ended or is late, or the network fails."""


class ComponentError(FedsimError, ValueError):
    """A component returned what its method must not return; the message names class, file and method."""


class NonFiniteError(FedsimError):
    """NaN or infinity where ``runtime.nonfinite: error`` does not allow it."""


class CheckpointError(FedsimError):
    """A checkpoint is absent, damaged or belongs to another run."""


def counted(number: int, noun: str) -> str:
    """A number with its noun.

    >>> counted(1, "round"), counted(3, "Byzantine client")
    ('1 round', '3 Byzantine clients')
    """
    return f"{number} {noun}{'s' * (number != 1)}"


def unknown_key(value: object) -> str:
    """What is wrong with a key that does not exist; of its value as much as helps to find it.

    >>> unknown_key(0.1)
    'unknown key (value 0.1)'
    """
    return f"unknown key (value {shortened(repr(value), LONGEST_VALUE)})"


def did_you_mean(word: str, choices: Iterable[str], known: str | None = None) -> str:
    """A remedy that names the nearest valid choice first, then all of them, or as many as a sentence takes.

    Args:
        known: what is meant by this very word, unless a choice is nearly the same.

    >>> did_you_mean("attak", ["attack", "seed"])
    "did you mean 'attack'? valid: attack, seed"
    >>> did_you_mean("auroc", ["accuracy", "metrics.auroc"])
    "did you mean 'metrics.auroc'? valid: accuracy, metrics.auroc"
    >>> did_you_mean("median", ["cwmed", "mda"], "cwmed")
    "did you mean 'cwmed'? valid: cwmed, mda"
    """
    valid = sorted(choices)
    word = word[:LONGEST_WORD]  # the time of a comparison grows with the square of the length
    sure = get_close_matches(word, valid, n=1, cutoff=NEARLY_THE_SAME)
    last_part = [name for name in valid if name.rpartition(".")[2] == word]
    near = sure or last_part or ([known] if known else get_close_matches(word, valid, n=1))
    ends = accumulate(len(name) + 2 for name in valid)
    shown = [name for end, name in zip(ends, valid, strict=True) if end < MESSAGE_LENGTH // 2]
    more = f" and {len(valid) - len(shown)} more" if len(shown) < len(valid) else ""
    listed = f"valid: {', '.join(shown)}{more}" if valid else "there is none"
    return f"did you mean '{near[0]}'? {listed}" if near else listed
