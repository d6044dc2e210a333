"""What an attack is: AttackView -> Byzantine rows, with settings and explicit state."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from fedsim.registry import Component, Registry
from fedsim.round_context import RoundContext
from fedsim.update_matrix import UpdateMatrix

Probe = Callable[[Tensor | UpdateMatrix], Tensor]


@dataclass(frozen=True, kw_only=True)
class AttackView:
    """What the omniscient attacker sees; plain tensors are wrapped into update matrices.

    Attributes:
        honest: rows [H, D] of the honest clients.
        own: rows [B, D] that the Byzantine clients computed themselves (zeros if they did not train).
        aggregator: a copy of the server's aggregator to probe; it advances nothing of the server.
        context: the facts of the round; ``context.client_ids`` names the honest clients, then the Byzantine ones.
    """

    honest: UpdateMatrix
    own: UpdateMatrix
    aggregator: Probe | None = None
    context: RoundContext | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "honest", UpdateMatrix.of(self.honest))
        object.__setattr__(self, "own", UpdateMatrix.of(self.own))
        if self.honest.num_columns != self.own.num_columns:
            raise ValueError(f"honest {self.honest.shape} and own {self.own.shape} rows differ in length")

    @property
    def num_honest(self) -> int:
        """H."""
        return self.honest.num_rows

    @property
    def num_byzantine(self) -> int:
        """B."""
        return self.own.num_rows


class Attack(Component):
    """Base of every attack; a subclass implements :meth:`craft`.

    Calling it with an :class:`AttackView` returns the Byzantine rows [B, D]. The attack acts on the
    matrix of model buffers by the same rule.
    """

    trains: ClassVar[bool] = False
    """Whether the Byzantine clients do their local work; if not, their own rows are zero."""

    probes: ClassVar[bool] = False
    """Whether it wants ``view.aggregator``, a copy of the server's aggregator."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.diagnostics: dict[str, float] = {}

    def __call__(self, view: AttackView) -> Tensor:
        if view.num_honest == 0:
            return view.own.tensor().clone()
        rows = self.craft(view).to(view.own.dtype)
        return rows.expand(view.num_byzantine, view.own.num_columns)

    @abstractmethod
    def craft(self, view: AttackView) -> Tensor:
        """One row [D] that all Byzantine clients send, or their rows [B, D]; there is an honest row."""
        raise NotImplementedError

    def check(self, num_rows: int, num_byzantine: int) -> None:
        """Raise ConfigError if the settings make no sense for B of K clients."""

    def poison_labels(self, labels: Tensor, num_classes: int, generator: torch.Generator) -> Tensor:
        """The labels [N] that a Byzantine client trains on; the generator is the client's, the same every round."""
        return labels

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next rows depend on (tensors, numbers, strings, lists, dicts)."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from what :meth:`state_dict` gave."""


attacks = Registry[Attack]("attack")
