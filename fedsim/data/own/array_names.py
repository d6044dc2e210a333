"""What arrays are for, by their names: inputs, labels or a column, to train or to test."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from fedsim.errors import ConfigError

TRAIN, TEST, VALIDATION = "train", "test", "val"

SIDES = {
    **dict.fromkeys(("train", "training"), TRAIN),
    **dict.fromkeys(("test", "testing"), TEST),
    **dict.fromkeys(("val", "valid", "validation"), VALIDATION),
}
"""The words in the name of an array or of a file that say what it is for."""

INPUTS = ("x", "inputs", "input", "images", "image", "data", "features", "tokens", "input_ids")
LABELS = ("y", "labels", "label", "targets", "target")

_WORDS = "|".join(sorted(SIDES, key=len, reverse=True))
_APART = re.compile(rf"(?:({_WORDS})[\W_]+)?(.+?)(?:[\W_]+({_WORDS}))?", re.IGNORECASE)


@dataclass
class Side:
    """The names of the arrays of one side.

    Attributes:
        columns: of what else is known of the samples, by the column's name.
    """

    inputs: str = ""
    labels: str = ""
    columns: dict[str, str] = field(default_factory=dict)


def side_of(word: str) -> str | None:
    """What a word such as ``Training`` says about the side.

    >>> side_of("Training"), side_of("images")
    ('train', None)
    """
    return SIDES.get(word.lower())


def sort_out(names: Iterable[str], inputs: str | None = None, labels: str | None = None) -> Mapping[str, Side]:
    """The arrays to train, to test and to validate; what no name says to be for testing is to train.

    Args:
        inputs: what inputs are called, where the user says so.
        labels: what labels are called.

    Raises:
        ConfigError: inputs or labels are missing, or two arrays may be them; the message names the key.

    >>> sort_out(["x_train", "trainY", "X-test", "test_labels", "train_hospital"])["train"]
    Side(inputs='x_train', labels='trainY', columns={'hospital': 'train_hospital'})
    """
    names = list(names)
    roles = {
        "inputs": (inputs,) if inputs else INPUTS,
        "labels": (labels,) if labels else LABELS,
    }
    sides: dict[str, Side] = {}
    for name in names:
        side, plain = _parts(name, [word for words in roles.values() for word in words])
        entry = sides.setdefault(side or TRAIN, Side())
        role = next((role for role, words in roles.items() if _normal(plain) in map(_normal, words)), None)
        if role is None:
            entry.columns[plain] = name
        elif getattr(entry, role):
            problem = f"both {getattr(entry, role)} and {name} may be the {role}"
            raise ConfigError(role, problem, f"set it to the name of the {role}")
        else:
            setattr(entry, role, name)
    _require_both(sides, names)
    return sides


def _require_both(sides: Mapping[str, Side], names: Iterable[str]) -> None:
    """ConfigError if a side that is needed has no inputs or no labels."""
    needed = [side for side in sides if side != VALIDATION or TEST not in sides]
    for side in dict.fromkeys([TRAIN, *needed]):
        for role, usual in (("inputs", "x"), ("labels", "y")):
            if not getattr(sides.get(side, Side()), role):
                which = "" if len(sides) < 2 else f" for {side}"
                listed = ", ".join(names) or "nothing"
                problem = f"there is no array of {role}{which} (found: {listed})"
                raise ConfigError(role, problem, f"call it {usual}, or set data.{role} to its name")


def _parts(name: str, known: Iterable[str]) -> tuple[str | None, str]:
    """The side of a name and what is left of it; known names may be joined to it, as in ``xtrain``."""
    joined = re.compile(rf"({_WORDS})?[\W_]*({'|'.join(map(re.escape, known))})[\W_]*({_WORDS})?", re.IGNORECASE)
    found = joined.fullmatch(name) or _APART.fullmatch(name)
    if found is None:
        return None, name
    before, plain, after = found.groups()
    return side_of(before or after or ""), plain


def _normal(name: str) -> str:
    return re.sub(r"[\W_]+", "", name).lower()
