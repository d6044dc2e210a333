"""RobustTailor: a rule drawn by simulating attacks on each of several rules."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from fedsim.aggregators.base import Aggregator, Diagnostics, aggregators
from fedsim.attacks import Attack, AttackView, attacks
from fedsim.errors import ConfigError, keys_under
from fedsim.registry import Reference
from fedsim.settings import Schema
from fedsim.updates.context import RoundContext
from fedsim.updates.matrix import UpdateMatrix
from fedsim.updates.neighbours import krum_scores, smallest

STEPS = 10
"""Exponential-weight steps of the game, at rate 1."""


def play(losses: Tensor) -> tuple[Tensor, Tensor]:
    """Mixed strategies of the server [R] and the attacker [A] after the game on ``losses`` [R, A].

    From uniform weights, both move at the same time: the server towards small losses, the attacker towards
    large ones.

    >>> play(torch.tensor([[-1.0], [0.0]]))[0]    # odds of e^10 to 1
    tensor([9.9995e-01, 4.5398e-05])
    """
    server, attacker = losses.new_zeros(losses.shape[0]), losses.new_zeros(losses.shape[1])
    for _ in range(STEPS):
        rules, attacks = server.softmax(0), attacker.softmax(0)
        server, attacker = server - losses @ attacks, attacker + rules @ losses
    return server.softmax(0), attacker.softmax(0)


def products(updates: UpdateMatrix, one: Tensor, other: Tensor) -> Tensor:
    """Inner products [2, 2] of two vectors over the columns of ``updates``, float64."""
    return updates.beside(one[None]).extend(other[None]).gram()


def cosine(gram: Tensor) -> float:
    """Cosine of two vectors with these inner products [2, 2], on the CPU; 0 if one of them is zero.

    >>> cosine(products(UpdateMatrix(torch.zeros(1, 2)), torch.tensor([1.0, 0.0]), torch.tensor([3.0, 4.0])))
    0.6
    """
    lengths = float((gram[0, 0] * gram[1, 1]).sqrt())
    return float(gram[0, 1]) / lengths if lengths > 0 else 0.0


@aggregators.register(
    "robust_tailor",
    Reference(
        authors="Xie, Pethick, Ramezani-Kebrya and Cevher",
        title="Mixed Nash for Robust Federated Learning",
        year=2024,
        venue="Transactions on Machine Learning Research",
        url="https://infoscience.epfl.ch/entities/publication/d6c4f9c0-be2b-4949-aee7-7c748d9617c2",
    ),
)
class RobustTailor(Aggregator):
    """A rule of the pool, drawn each round by how well it withstands simulated attacks.

        L[R, A] = -cos(mean(S), R(S and f rows of attack A on S)),    S = multi-Krum's K-f updates
        p_R ~ exp(-(sum of the L q so far)_R),    q_A ~ exp((sum of the p L so far)_A),    ten steps
        step    = R(g_1, ..., g_K),    R drawn with the last p

    K is the number of clients, g_k in R^D the update of client k, f = max(0, floor((K-3)/2)); R runs over the
    ``pool`` of rules, A over the simulated ``attacks``, p and q are the mixed strategies of server and attacker,
    uniform at first. The step has the shape [D].

    It fails against attacks that it does not simulate, and where multi-Krum lets Byzantine updates into S.

    The original simulates the attacks on gradients of public data at the server. A federation may have none, so here
    S stands for the honest updates, and each attack replaces the other f [ours]. Rules that keep a state advance it
    only in the rounds that they are drawn for.

    Raises:
        ConfigError: an unknown rule or attack, or an attack that probes an aggregator itself.

    >>> rows = torch.tensor([[1.0, 0.0], [1.0, 0.1], [1.0, -0.1], [1.0, 0.0], [-9.0, 5.0]])
    >>> RobustTailor(pool=["cwmed"], attacks=["ipm"])(rows)
    tensor([1., 0.])
    """

    class Settings(Schema):
        pool: list[str] = Field(
            ["krum", "cwmed", "cwtm", "rfa"], min_length=1, description="rules to draw from, by name"
        )
        attacks: list[str] = Field(["ipm", "alie", "min_max"], min_length=1, description="simulated attacks, by name")

    settings: Settings

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        with keys_under("pool"):
            self._rules = [aggregators.build(name) for name in self.settings.pool]
        with keys_under("attacks"):
            self._attacks = self._find_attacks()

    @property
    def shardable(self) -> bool:  # type: ignore[override]
        """Whether all its rules and attacks are."""
        return all(rule.shardable for rule in self._rules) and all(attack().shardable for attack in self._attacks)

    def _find_attacks(self) -> list[type["Attack"]]:
        """The attacks to simulate; of the default list those that are registered, of any other all."""
        names, by_default = self.settings.attacks, "attacks" not in self.settings.model_fields_set
        found = [attacks.get(name) for name in names if not by_default or name in attacks.describe()]
        for attack in found:
            if attack.probes:
                raise ConfigError("name", f"'{attack.name}' probes an aggregator itself", "choose one that does not")
        return found

    def aggregate(self, updates: UpdateMatrix, context: RoundContext) -> Tensor:
        f = max(0, (updates.num_rows - 3) // 2)
        scores = krum_scores(updates.squared_distances(), f)
        selected = smallest(scores, updates.num_rows - f, context.client_ids).tolist()
        server, attacker = play(self._losses(updates, selected, context))
        generator = context.randomness()
        drawn = int(torch.multinomial(server.to(generator.device), 1, generator=generator))
        step = self._rules[drawn](updates, context)
        self._report(drawn, server, attacker, selected)
        return step

    def _losses(self, updates: UpdateMatrix, selected: Sequence[bool], context: RoundContext) -> Tensor:
        """Loss of each rule under each attack [R, A], when the attack replaces all but the selected rows."""
        honest = [row for row in context.in_id_order() if selected[row]]
        others = [row for row in context.in_id_order() if not selected[row]]
        context = replace(context, client_ids=tuple(context.client_ids[row] for row in [*honest, *others]))
        surrogates = updates.select(honest)
        view = AttackView(honest=surrogates, own=updates.select(others), context=context)
        truth = surrogates.mean()
        grams = []
        for attack in self._attacks:
            attacked = surrogates.extend(attack()(view)) if others else surrogates
            grams += [products(updates, truth, _probe(rule, attacked, context)) for rule in self._rules]
        cosines = [cosine(gram) for gram in torch.stack(grams).cpu()]  # at once: a GPU is waited for only here
        return -torch.tensor(cosines, dtype=torch.float64).view(len(self._attacks), len(self._rules)).T

    def _report(self, drawn: int, server: Tensor, attacker: Tensor, selected: Sequence[bool]) -> None:
        rule = self._rules[drawn]
        self.diagnostics = Diagnostics(
            per_client={**rule.diagnostics.per_client, "surrogate": torch.tensor(selected).float()},
            scalars={
                "drawn_rule": float(drawn),
                **{f"weight_{name}": float(w) for name, w in zip(self.settings.pool, server, strict=True)},
                **{f"weight_{attack.name}": float(w) for attack, w in zip(self._attacks, attacker, strict=True)},
            },
            trust=rule.diagnostics.trust,
        )

    def check(self, num_rows: int) -> None:
        with keys_under("pool"):
            for rule in self._rules:
                rule.check(num_rows)

    def state_dict(self) -> dict[str, Any]:
        return {"rules": [rule.state_dict() for rule in self._rules]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for rule, its_state in zip(self._rules, state["rules"], strict=True):
            rule.load_state_dict(its_state)


def _probe(rule: Aggregator, updates: UpdateMatrix, context: RoundContext) -> Tensor:
    """What the rule would make of these rows; its state is as before afterwards."""
    before = rule.state_dict()
    try:
        return rule(updates, context)
    finally:
        rule.load_state_dict(before)
