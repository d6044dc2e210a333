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
    """Noise from N(0, std^2) in every coordinate instead of an update, drawn independently for each client.

    Byzantine client b of the B sends

        x_b ~ N(0, std^2 I),

    a fresh draw [D] in every round; std = 200 is the paper's. It knows nothing and simulates a client that is broken
    rather than one that aims: in expectation the noise is unrelated to the gradient, but a plain mean of K rows takes
    on noise of standard deviation std sqrt(B) / K in every coordinate and training diverges.

    With D coordinates a row is about std sqrt(D) long, far longer than an honest update, and stands out to any rule
    that looks at norms, distances or order statistics.

    >>> import torch
    >>> rows = Gaussian(std=3.0)(AttackView(honest=torch.ones(2, 10_000), own=torch.zeros(2, 10_000)))
    >>> rows.std(dim=1).round()
    tensor([3., 3.])
    """

    class Settings(Schema):
        std: float = Field(200.0, ge=0, description="standard deviation of every coordinate")

    settings: Settings
    sees_honest = False
    shardable = True

    def craft(self, view: AttackView) -> Tensor:
        seed = draw_seed(view.facts.randomness())
        return draw_rows(seed, view.own_ids, view.own, normal).mul_(self.settings.std)
