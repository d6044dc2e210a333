"""No attack."""

from torch import Tensor

from fedsim.attacks.base import Attack, AttackView, attacks


@attacks.register("none")
class NoAttack(Attack):
    """Byzantine clients behave: they send their own update."""

    trains = True
    sees_honest = False

    def craft(self, view: AttackView) -> Tensor:
        return view.own.tensor().clone()
