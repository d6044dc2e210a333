"""What can go wrong, said in words a user can act on."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches


class FedsimError(Exception):
    """Base of every error that fedsim raises on purpose."""


class FedsimWarning(UserWarning):
    """Something has no effect or was repaired; the run goes on."""


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
        super().__init__(": ".join(filter(None, [key, "; ".join(filter(None, [problem, remedy]))])))

    def under(self, prefix: str) -> "ConfigError":
        """The same error, its key seen from the section ``prefix``."""
        return ConfigError(".".join(filter(None, [prefix, self.key])), self.problem, self.remedy)


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


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """A remedy that names the nearest valid choice first, then all of them.

    >>> did_you_mean("attak", ["attack", "seed"])
    "did you mean 'attack'? valid: attack, seed"
    """
    valid = sorted(choices)
    near = get_close_matches(word, valid, n=1)
    listed = f"valid: {', '.join(valid)}" if valid else "there is none"
    return f"did you mean '{near[0]}'? {listed}" if near else listed
