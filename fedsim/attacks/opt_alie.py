"""ALIE with the z that hurts the server's own rule most."""

from fedsim.attacks.base import AttackView, attacks
from fedsim.attacks.perturbation import SHEJWALKAR_2021, perturbation
from fedsim.attacks.probe import Line
from fedsim.attacks.tailored import ALLOUAH_2023, TailoredAttack
from fedsim.registry import Reference


@attacks.register(
    "opt_alie",
    ALLOUAH_2023,
    SHEJWALKAR_2021,
    Reference(
        authors="Baruch, Baruch and Goldberg",
        title="A Little Is Enough: Circumventing Defenses For Distributed Learning",
        year=2019,
        venue="NeurIPS",
        url="https://arxiv.org/abs/1902.06156",
    ),
)
class OptimisedALIE(TailoredAttack):
    """Honest mean minus z honest standard deviations, with the z that moves the server's real aggregate furthest.

    >>> import torch
    >>> from fedsim.aggregators import build_aggregator
    >>> view = AttackView(
    ...     honest=torch.tensor([[1.0], [2.0], [3.0]]), own=torch.zeros(1, 1), aggregator=build_aggregator("cwmed")
    ... )
    >>> OptimisedALIE()(view)    # z = 1 moves the (lower) median to 1, and no other z moves it further
    tensor([[1.]])
    """

    parameter = "z"
    first_step = 1.0

    def line_and_parent(self, view: AttackView) -> tuple[Line, float]:
        return perturbation(view.honest, "std").line, 1.0
