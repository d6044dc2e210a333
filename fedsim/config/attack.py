"""The section ``attack``: one attack, its clients and its rounds."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from fedsim.config.section import Section


class AttackSection(Section):
    """One attack: its clients and its rounds."""

    alternatives: ClassVar[tuple[str, ...]] = ("num_byzantine", "clients", "byzantine_fraction")

    name: str = Field("none", description="attack; several attacks are given as a list of such sections")
    num_byzantine: int | None = Field(None, ge=0, description="B, the last B clients attack")
    clients: list[int] | None = Field(None, description="ids of the clients that attack, instead of num_byzantine")
    byzantine_fraction: float | None = Field(
        None, ge=0, le=1, description="B as a share of all clients, rounded down, instead of num_byzantine"
    )
    first_round: int = Field(1, ge=1, description="the first round with this attack; before it its clients behave")
    last_round: int | None = Field(None, ge=1, description="the last round with this attack (null: to the end)")
    redraw_every: int | None = Field(
        None, ge=1, description="rounds after which B other clients are drawn to attack (null: always the same)"
    )
    allow_byzantine_majority: bool = Field(False, description="permit B >= K/2")

    def count(self, num_clients: int) -> int:
        """B."""
        if self.clients is not None:
            return len(self.clients)
        if self.byzantine_fraction is not None:
            return int(self.byzantine_fraction * num_clients + 1e-9)
        return self.num_byzantine or 0

    def overlaps(self, other: AttackSection) -> bool:
        """Whether both act in some round, in a run that is long enough."""
        ends = [section.last_round or float("inf") for section in (self, other)]
        return max(self.first_round, other.first_round) <= min(ends)
