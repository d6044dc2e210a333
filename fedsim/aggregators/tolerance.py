"""The setting ``num_byzantine`` of every method that is built for up to f Byzantine clients."""

import warnings
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from fedsim.errors import ConfigError, FedsimWarning
from fedsim.registry import Component
from fedsim.settings import Schema
from fedsim.updates.context import RoundContext

NumByzantine = Annotated[int, Field(ge=0)] | Literal["oracle"] | None


class Tolerant(Component):
    """What such methods share; further settings go into a subclass of :class:`Settings`.

    f is what the user says, or the most that the method allows, and never anything else in silence: what the method
    cannot take is an error. Only rows that were dropped lower it, each being one of the f.

    Attributes:
        settings: with ``num_byzantine``: a number; None for the largest that the method allows; or ``oracle`` for the
            true one, which a run puts in before the method is used.

    >>> class Half(Tolerant):
    ...     largest_f = staticmethod(lambda num_rows: (num_rows - 1) // 2)
    >>> Half().tolerated(num_rows=7), Half(num_byzantine=2).tolerated(6, RoundContext(dropped=1))
    (3, 1)
    >>> Half(num_byzantine=3).tolerated(num_rows=6)
    Traceback (most recent call last):
    fedsim.errors.ConfigError: num_byzantine: 3 is too many for 6 clients; the most it allows is 2
    """

    class Settings(Schema):
        num_byzantine: NumByzantine = Field(
            None,
            description="f, how many Byzantine clients to defend against; left out: the most the method allows; "
            "oracle: the true number",
        )

    settings: Any

    largest_f: Callable[[int], int]
    """The largest f that the method allows for K rows, before it is cut off at 0."""

    works_beyond: ClassVar[bool] = False
    """Whether ``largest_f`` is a limit of the proof only: above it the method goes on, with one warning."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._has_warned = False

    @classmethod
    def unimplemented(cls) -> list[str]:
        return [*super().unimplemented(), *([] if hasattr(cls, "largest_f") else ["largest_f"])]

    def tolerated(self, num_rows: int, context: RoundContext | None = None) -> int:
        """f for these rows: as set, less the clients dropped already.

        Where rows are means of several clients' rows there may be too few of them; f is then the most they allow.

        Args:
            num_rows: K, the rows that are there.
            context: says how many rows were left out before, and whether those that are there are clients.

        Raises:
            ConfigError: K rows do not allow this f; or ``oracle`` outside a run, where nobody knows the true number.
        """
        context = context or RoundContext()
        wanted = self.settings.num_byzantine
        if wanted is None:
            return self._largest(num_rows)
        if wanted == "oracle":
            raise ConfigError("num_byzantine", "'oracle' is known only inside a run", "give a number")
        f = max(0, wanted - context.dropped)
        if context.merged:
            return min(f, num_rows - 1 if self.works_beyond else self._largest(num_rows))
        self._check(f, num_rows)
        return f

    def check(self, num_rows: int) -> None:
        """Check f for ``num_rows`` rows, before a run starts.

        Raises:
            ConfigError: it is more than so many rows allow.
        """
        if isinstance(self.settings.num_byzantine, int):
            self._check(self.settings.num_byzantine, num_rows)

    def _check(self, f: int, num_rows: int) -> None:
        largest = self._largest(num_rows)
        if f <= largest:
            return
        by = f" under {self.name}" if self.name else ""
        problem, remedy = f"{f} is too many for {num_rows} clients{by}", f"the most it allows is {largest}"
        if not self.works_beyond or f >= num_rows:
            raise ConfigError("num_byzantine", problem, remedy)
        if not self._has_warned:
            self._has_warned = True
            text = f"aggregator.num_byzantine: {problem}, whose proof holds up to {largest}; it goes on without"
            warnings.warn(text, FedsimWarning, stacklevel=4)

    def _largest(self, num_rows: int) -> int:
        return max(0, type(self).largest_f(num_rows))
