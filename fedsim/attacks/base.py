"""What an attack is: AttackView -> Byzantine rows, with settings and explicit state.

In the documentation of every attack, K = H + B clients take part in a round, H of them honest and B Byzantine. g_k
[D] is the row of client k, its update; the server steps w - eta A(rows) with an aggregator A, so that an update has
the sign of a gradient. mu and sigma [D] are the mean and the unbiased standard deviation of the H honest rows in
every coordinate, x is the row that all B clients send, or x_b that of client b. [ours] marks a choice of this project
where the original leaves one open or cannot be applied as published.
"""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from fedsim.attacks.probe import Probe, Probed
from fedsim.errors import ComponentError, ConfigError
from fedsim.registry import Component, Registry
from fedsim.updates.context import RoundContext
from fedsim.updates.matrix import UpdateMatrix


@dataclass(frozen=True, kw_only=True)
class AttackView:
    """What an attacker is given to see; plain tensors are wrapped into update matrices.

    This is the threat model of an attack: it finds here no more than it declares to need, by the class variables of
    :class:`Attack`. With all of it the attacker is omniscient, as the FedSECA paper assumes.

    Attributes:
        honest: rows [H, D] of the honest clients.
        own: rows [B, D] that the Byzantine clients computed themselves (zeros if they did not train).
        aggregator: the server's aggregator or defence, to be tried out through :meth:`probe`, on a copy.
        context: the facts of the round; ``context.client_ids`` names the honest clients, then the Byzantine ones,
            then the accomplices. Its generator is the attacker's, not the server's.
        accomplices: rows of Byzantine clients under other attacks, as far as they are known already.
    """

    honest: UpdateMatrix
    own: UpdateMatrix
    aggregator: Probed | None = None
    context: RoundContext | None = None
    accomplices: UpdateMatrix | None = None

    def __post_init__(self) -> None:
        for name in ("honest", "own", "accomplices"):
            rows = getattr(self, name)
            if rows is not None:
                object.__setattr__(self, name, UpdateMatrix.of(rows))
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

    @property
    def facts(self) -> RoundContext:
        """The context; without one, that of round 0 with clients numbered by their rows."""
        accomplices = 0 if self.accomplices is None else self.accomplices.num_rows
        return self.context or RoundContext.of(self.num_honest + self.num_byzantine + accomplices)

    @property
    def honest_ids(self) -> tuple[int, ...]:
        """Ids of the honest clients, in row order."""
        return self.facts.client_ids[: self.num_honest]

    @property
    def own_ids(self) -> tuple[int, ...]:
        """Ids of the attacking clients, in row order."""
        return self.facts.client_ids[self.num_honest : self.num_honest + self.num_byzantine]

    def seed(self) -> int:
        """What the randomness of the attackers derives from in this round."""
        return self.facts.randomness().initial_seed()

    def probe(self) -> Probe:
        """A copy of the aggregator, to try rows of all B attackers out on.

        Raises:
            ConfigError: the view has no aggregator.
        """
        return Probe(self._probed(), self.honest, self.accomplices, self.num_byzantine, self.facts)

    def alone(self, attacker: int) -> AttackView:
        """The view of one of the B attackers, for whom the others are accomplices that send their own rows.

        >>> view = AttackView(honest=torch.ones(2, 1), own=torch.tensor([[5.0], [6.0], [7.0]]))
        >>> one = view.alone(1)
        >>> one.own.tensor().tolist(), one.accomplices.tensor().flatten().tolist(), one.facts.client_ids
        ([[6.0]], [5.0, 7.0], (0, 1, 3, 2, 4))
        """
        honest, byzantine = self.num_honest, self.num_byzantine
        others = [row for row in range(byzantine) if row != attacker]
        rows = [self.own.select(others).local_rows()]
        if self.accomplices is not None:
            rows.append(self.accomplices.local_rows())
        facts = self.facts
        order = [*range(honest), honest + attacker, *(honest + row for row in others)]
        order += range(honest + byzantine, len(facts.client_ids))
        return replace(
            self,
            own=self.own.select([attacker]),
            accomplices=self.own.beside(torch.cat(rows)),
            context=replace(facts.keep(order), dropped=facts.dropped),
        )

    def _probed(self) -> Probed:
        if self.aggregator is None:
            raise ConfigError(
                "aggregator", "missing: this attack probes the server's aggregator", "give the view one"
            )
        return self.aggregator


class Attack(Component):
    """Base of every attack; a subclass implements :meth:`craft`.

    Calling it with an :class:`AttackView` returns the Byzantine rows [B, D]. What the attack needs to know it
    declares in class variables; the view that :meth:`craft` gets holds that and nothing else. An attack is given rows
    and an aggregator to try out, never the simulation, so that it also works in a notebook.

    State that the next rows depend on is explicit: see :meth:`state_dict`. What an attack reports of its last call is
    in :attr:`diagnostics`.
    """

    sees_honest: ClassVar[bool] = True
    """Whether it knows the honest rows. If it does, a round without any makes it send its own."""

    trains: bool = False
    """Whether the Byzantine clients do their local work; if not, their own rows are zero."""

    needs_weights: bool = False
    """Whether it wants the global values [D] that the clients started from, in ``view.facts.weights``."""

    probes: ClassVar[bool] = False
    """Whether it wants ``view.aggregator``, to be tried out on a copy."""

    poisons_data: ClassVar[bool] = False
    """Whether it acts on what the Byzantine clients train on: see :meth:`poison_labels`."""

    shardable: bool = False
    """Whether it works on rows that are distributed over ranks by columns: it touches vectors over the columns
    through the matrices of its view or coordinate by coordinate, and decides by their statistics only. The server of
    a run with another attack runs whole on rank 0."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "craft" in vars(cls):  # rows of its own inherit no promise
            cls.shardable = vars(cls).get("shardable", False)

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.diagnostics: dict[str, float] = {}

    def __call__(self, view: AttackView) -> Tensor:
        self.diagnostics = {}
        if self.sees_honest and view.num_honest == 0:
            return view.own.local_rows().clone()
        writes = view.honest.writes
        with self.own_draws(view.seed, device=view.own.device):
            crafted = self.craft(self._granted(view))
        if view.honest.writes != writes:
            raise ComponentError(f"{self.who}: craft has changed the rows of its view; let it work on a copy (clone)")
        rows = self.returned(crafted, "craft", view.own.device).to(view.own.dtype)
        wanted = torch.Size((view.num_byzantine, view.own.local_columns))
        if rows.shape[-1:] == (view.own.num_columns,):  # made of view.honest.tensor()
            rows = view.own.cut_out(rows)
        if rows.shape not in (wanted, wanted[1:]):
            problem = f"rows of shape {list(rows.shape)}, not {[*wanted]} or {[*wanted[1:]]}"
            raise ComponentError(f"{self.who}: craft returned {problem}")
        return rows.expand(wanted)

    def _granted(self, view: AttackView) -> AttackView:
        """The view without what the attack does not declare to need."""
        nothing = torch.zeros((), dtype=view.own.dtype, device=view.own.device)
        columns = view.own.local_columns
        honest = view.honest if self.sees_honest else view.own.beside(nothing.expand(0, columns))
        context = view.facts
        if not self.sees_honest:
            context = replace(context.keep(range(view.num_honest, len(context.client_ids))), dropped=context.dropped)
        if not self.needs_weights:
            context = replace(context, weights=None)
        elif context.weights is None:
            problem = f"missing: the attack '{self.name}' needs the global weights that clients started from"
            raise ConfigError("weights", problem, "give RoundContext(weights=...)")
        return AttackView(
            honest=honest,
            own=view.own if self.trains else view.own.beside(nothing.expand(view.num_byzantine, columns)),
            aggregator=view.aggregator if self.probes else None,
            accomplices=view.accomplices if self.probes else None,
            context=context,
        )

    @abstractmethod
    def craft(self, view: AttackView) -> Tensor:
        """One row [D] that all Byzantine clients send, or their rows [B, D].

        There is an honest row unless ``sees_honest`` is false.
        """
        raise NotImplementedError

    def observe(self, context: RoundContext) -> None:
        """Called once at the start of every round, also of those in which no client of this attack takes part.

        ``context.last_step`` is what every client sees of the round before; the ids are those of the participants.
        """

    def for_buffers(self) -> Attack:
        """The attack on the matrix of model buffers: the same rule with a state of its own, unless overridden."""
        return copy.deepcopy(self)

    def check(self, num_rows: int, num_byzantine: int) -> None:
        """Raise ConfigError if the settings make no sense for B of K clients."""

    def poison_labels(self, labels: Tensor, num_classes: int, generator: torch.Generator) -> Tensor:
        """The labels [N] or [N, T] that a Byzantine client trains on; its generator is the same every round."""
        return labels

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next rows depend on (tensors, numbers, strings, lists, dicts)."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from what :meth:`state_dict` gave."""


attacks = Registry("attack", Attack)
