"""What the clients train on: their own labels, or those that a data-poisoning attack gives the Byzantine ones."""

from collections.abc import Sequence

from torch import Tensor

from fedsim.attacks import Attack
from fedsim.data.labels import IGNORED
from fedsim.participation.attack_plan import AttackPlan
from fedsim.seeds import derive_generator


class PoisonedLabels:
    """The labels of each client in each round.

    Honest clients, and the random streams of all clients, are as they would be without an attack. What a poisoned
    label becomes is drawn from a generator of the client's own, the same in every round.

    Args:
        attacks: one for each campaign of the plan.
        labels: of all training samples [N], or of their positions [N, T]; those without a class stay without.
        client_indices: indices of each client's samples.
    """

    def __init__(
        self,
        plan: AttackPlan,
        attacks: Sequence[Attack],
        labels: Tensor,
        client_indices: Sequence[Tensor],
        num_classes: int,
        seed: int,
    ) -> None:
        self._plan, self._attacks, self._labels, self._client_indices = plan, attacks, labels, client_indices
        self._num_classes, self._seed = num_classes, seed
        self._poisoned: dict[tuple[int, int], Tensor] = {}

    def __call__(self, client: int, round_index: int) -> Tensor:
        """Labels of the client's samples, in the order of its indices."""
        campaign = self._plan.attackers(round_index).get(client)
        if campaign is None:
            return self._labels[self._client_indices[client]]
        if (client, campaign) not in self._poisoned:
            generator = derive_generator(self._seed, "poison", client)
            clean = self._labels[self._client_indices[client]]
            attack = self._attacks[campaign]
            with attack.own_draws(generator.initial_seed, "poison_labels"):
                poisoned = attack.poison_labels(clean, self._num_classes, generator)
            self._poisoned[client, campaign] = poisoned.where(clean != IGNORED, IGNORED)
        return self._poisoned[client, campaign]
