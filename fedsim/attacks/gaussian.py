"""Gaussian noise."""

from pydantic import Field
from torch import Tensor

from fedsim.attacks.base import Attack, AttackView, attacks
from fedsim.registry import Reference
from fedsim.settings import Schema
from fedsim.updates.random_rows import draw_rows, draw_seed, normal


@attacks.register(
    "gaussian",
    Reference(
        authors="Blanchard, El Mhamdi, Guerraoui and Stainer",
        title="Machine Learning with Adversaries: Byzantine Tolerant Gradient Descent",
        year=2017,
        venue="NeurIPS",
        url="https://arxiv.org/abs/1703.02757",
    ),
)
class Gaussian(Attack):
    """Noise from N(0, std^2) in every coordinate instead of an update, drawn for each client by itself.

    >>> import torch
    >>> rows = Gaussian(std=3.0)(AttackView(honest=torch.ones(2, 10_000), own=torch.zeros(2, 10_000)))
    >>> rows.std(dim=1).round()
    tensor([3., 3.])
    """

    class Settings(Schema):
        std: float = Field(200.0, ge=0, description="standard deviation of every coordinate")

    settings: Settings
    sees_honest = False

    def craft(self, view: AttackView) -> Tensor:
        seed = draw_seed(view.facts.randomness())
        return draw_rows(seed, view.own_ids, view.own, normal).mul_(self.settings.std)
