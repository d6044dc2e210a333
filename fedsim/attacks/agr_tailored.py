"""Min-Max without its constraint: fitted to the server's own rule."""

from collections.abc import Callable
from math import nan
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from fedsim.attacks.base import AttackView, attacks
from fedsim.attacks.min_max import min_max_gamma
from fedsim.attacks.perturbation import DIRECTION_HELP, SHEJWALKAR_2021, Direction, perturbation
from fedsim.attacks.probe import Line
from fedsim.attacks.tailored import TailoredAttack
from fedsim.settings import Schema


def halving_search(objective: Callable[[float], float], start: float = 10.0) -> tuple[float, float]:
    """The gamma that the search of FedSECA's authors evaluates last, and the objective there.

    A try that is better than the *last* one, not the best, moves gamma up by half the step, any other down; the step
    starts at start / 2 and is halved after every try. The search ends as soon as gamma comes within 1e-5 of the last
    one that was better. The first try always is, so that gamma ends between start and 3 start / 2.

    >>> halving_search(lambda gamma: gamma), halving_search(lambda gamma: 1.0)
    ((14.999980926513672, 14.999980926513672), (10.000019073486328, 1.0))
    """
    gamma, step, before = start, start / 2, -1.0
    better, last, reached = 0.0, start, nan
    while abs(gamma - better) > 1e-5 and step > 1e-6:  # the second can only be so if the objective is NaN
        last, reached = gamma, objective(gamma)
        if reached > before:
            better, gamma = gamma, gamma + step / 2
        else:
            gamma -= step / 2
        before, step = reached, step / 2
    return last, reached


@attacks.register("agr_tailored", SHEJWALKAR_2021)
class AgrTailored(TailoredAttack):
    """The honest mean, shifted by the amount that moves the server's real aggregate furthest from it.

    All B Byzantine clients send x = mu + gamma p with the gamma, among 20 tries in every round, of the largest

        J(gamma) = ||mu - A(g_1, ..., g_H, x, ..., x)||,

    g_i being the H honest rows, mu [D] their mean, p [D] the ``direction`` of ``min_max`` and A a copy of the
    server's defence with its state, pre-aggregators and momentum. The first try is gamma = 0; the step starts at 10,
    doubles while J grows, and shrinks to 0.8 of itself after that, on alternating sides of the best gamma so far. One
    try is the gamma of Min-Max, so that this attack is at least as strong, by J [ours].

    It needs to know the rule. It gains little where no gamma carries A away from mu, and a rule that draws at random
    is tried with the attacker's own draws, which are not the server's.

    The original searches with a step that is halved in every try. The FedSECA paper reports this attack as "MinMax
    (agr-updates)", in the form of its released code, which is ``search: released``: mu and p are those of all K
    clean rows, the attackers' own included; each attacker searches alone, the others' rows being clean in its tries;
    a try is compared with the try before it, and the last one is sent, so that gamma ends between 10 and 15 whatever
    the rule is: see :func:`halving_search`. Their tries run on the live server, ours on copies.

    >>> import torch
    >>> from fedsim.aggregators import build_aggregator
    >>> view = AttackView(
    ...     honest=torch.tensor([[1.0], [2.0], [3.0]]), own=torch.zeros(1, 1), aggregator=build_aggregator("cwmed")
    ... )
    >>> bool(AgrTailored()(view) <= 1)    # where the (lower) median becomes 1
    True
    >>> AgrTailored(search="released")(view)    # 1.5 - gamma
    tensor([[-8.5000]])
    """

    class Settings(Schema):
        direction: Direction = Field("unit", description=DIRECTION_HELP)
        search: Literal["best", "released"] = Field(
            "best", description="best: the best of 20 tries is sent; released: as in the code of FedSECA's authors"
        )

    settings: Settings
    parameter = "gamma"
    first_step = 10.0
    shardable = True

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.trains = self.settings.search == "released"

    def craft(self, view: AttackView) -> Tensor:
        return self._craft_as_released(view) if self.settings.search == "released" else super().craft(view)

    def line_and_parent(self, view: AttackView) -> tuple[Line, float]:
        found = perturbation(view.honest, self.settings.direction)
        return found.line, min_max_gamma(found)

    def _craft_as_released(self, view: AttackView) -> Tensor:
        """The row of each attacker [B, D]; the diagnostics are means over the attackers."""
        line = perturbation(view.honest.extend(view.own.local_rows()), self.settings.direction).line
        found = []
        for attacker in range(view.num_byzantine):
            deviation = view.alone(attacker).probe().deviation_along(line, from_base=True)
            found.append(halving_search(deviation))
        gammas, reached = zip(*found, strict=True)
        self.diagnostics = {
            self.parameter: sum(gammas) / len(found),
            "deviation": sum(reached) / len(found),
        }
        return torch.stack([line.at(gamma) for gamma in gammas])
