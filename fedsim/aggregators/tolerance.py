"""The setting ``num_byzantine`` of every method that is built for up to f Byzantine clients."""

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import Field

from fedsim.errors import ConfigError
from fedsim.registry import Component
from fedsim.settings import Schema

NumByzantine = Annotated[int, Field(ge=0)] | Literal["oracle"] | None


class Tolerant(Component):
    """What such methods share; further settings go into a subclass of :class:`Settings`.

    Attributes:
        settings: with ``num_byzantine``: a number; None for the largest that the method allows; or ``oracle`` for the
            true one, which a run puts in before the method is used.

    >>> class Half(Tolerant):
    ...     largest_f = staticmethod(lambda num_rows: (num_rows - 1) // 2)
    >>> Half().tolerated(num_rows=7), Half(num_byzantine=2).tolerated(num_rows=6, dropped=1)
    (3, 1)
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

    def tolerated(self, num_rows: int, dropped: int = 0) -> int:
        """f for these rows: as set, less the clients dropped already, and never more than K allows.

        Args:
            num_rows: K, the rows that are there.
            dropped: rows left out before; each counts as one of the f.

        Raises:
            ConfigError: ``oracle`` outside a run, where nobody knows the true number.
        """
        largest = max(0, type(self).largest_f(num_rows))
        wanted = self.settings.num_byzantine
        if wanted is None:
            return largest
        if wanted == "oracle":
            raise ConfigError("num_byzantine", "'oracle' is known only inside a run", "give a number")
        return min(max(0, wanted - dropped), largest)

    def check(self, num_rows: int) -> None:
        """Check f for ``num_rows`` rows, before a run starts.

        Raises:
            ConfigError: it is more than so many rows allow.
        """
        largest = max(0, type(self).largest_f(num_rows))
        wanted = self.settings.num_byzantine
        if isinstance(wanted, int) and wanted > largest:
            raise ConfigError(
                "num_byzantine",
                f"{wanted} is too many for {num_rows} clients under {self.name}",
                f"the most it allows is {largest}",
            )
