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
    """ALIE with the z that moves the server's real aggregate furthest from the honest mean.

    All B Byzantine clients send x = mu - z sigma with the z, among 20 tries in every round, of the largest

        J(z) = ||mu - A(g_1, ..., g_H, x, ..., x)||,

    g_i being the H honest rows, mu and sigma [D] their mean and unbiased standard deviation in every coordinate and A
    a copy of the server's defence with its state, pre-aggregators and momentum. The first try is z = 0, the first
    step 1; it doubles while J grows and shrinks to 0.8 of itself after that. One try is z = 1, the default of
    ``alie``, so that this attack is at least as strong, by J [ours].

    Where sigma is zero, so is the attack: see ``alie``. J measures one round; a z that hurts most now need not hurt
    most over the whole training.

    Allouah et al. choose the factor in every round as well, after Shejwalkar and Houmansadr; the search here, its
    number of tries and its steps are ours, the same for all attacks of this kind.

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
    shardable = True

    def line_and_parent(self, view: AttackView) -> tuple[Line, float]:
        return perturbation(view.honest, "std").line, 1.0
