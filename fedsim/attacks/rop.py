"""Relocated orthogonal perturbation."""

from math import cos, radians, sin

import torch
from pydantic import Field
from torch import Tensor

from fedsim.attacks.base import Attack, AttackView, attacks
from fedsim.registry import Reference
from fedsim.settings import Schema
from fedsim.updates.matrix import UpdateMatrix
from fedsim.updates.order_statistics import sum_rows
from fedsim.updates.rounding import TIE


@attacks.register(
    "rop",
    Reference(
        authors="Özfatura, Özfatura, Küpçü and Gunduz",
        title="Byzantines Can Also Learn From History: Fall of Centered Clipping in Federated Learning",
        year=2024,
        venue="IEEE Transactions on Information Forensics and Security",
        url="https://doi.org/10.1109/TIFS.2023.3345171",
    ),
)
class RelocatedOrthogonalPerturbation(Attack):
    """The last aggregate, moved by a vector of length z at an angle to where the clients are heading.

    With m [D] the last aggregate (in the first round mu), mu [D] the mean of the H honest rows, 1 the vector of ones
    and lambda and rho the settings ``reference_weight`` and ``relocation``, all B Byzantine clients send

        u  = lambda m + (1 - lambda) mu
        o  = 1 - ((1 . u) / ||u||^2) u, brought to length one
        pi = sin(angle) o + cos(angle) u / ||u||
        x  = rho m + (1 - rho) mu + z pi.

    It is made against centered clipping, whose reference is known to the clients: x lies at distance z from it when
    rho = 1, inside the clipping radius for a small z, and pi, being orthogonal to u at 90 degrees, is the same from
    round to round while u is, so that its effect adds up. Sequential bucketing, by the same authors, was proposed
    against it. A rule that compares directions sees no opposition at 90 degrees; one that compares distances sees x
    near the last aggregate.

    In the original the clients send momenta, so that m is an aggregate of momenta, and zero in the first round; here
    it is the last step, whatever the clients send, so that the attack goes with any rule. Without an angle to turn by
    [ours], pi is u / ||u|| where the ones are parallel to u (with one coordinate they always are), and the ones,
    brought to length one, where u is zero.

    >>> honest = torch.tensor([[3.0, 0.0], [5.0, 0.0]])
    >>> RelocatedOrthogonalPerturbation(z=0.5)(AttackView(honest=honest, own=torch.zeros(1, 2)))
    tensor([[4.0000, 0.5000]])
    """

    class Settings(Schema):
        angle: float = Field(90.0, ge=0, le=180, description="degrees between the perturbation and u")
        z: float = Field(0.5, description="length of the perturbation")
        reference_weight: float = Field(
            0.9, ge=0, le=1, description="lambda, share of the last aggregate in u; the rest is the honest mean's"
        )
        relocation: float = Field(
            1.0, ge=0, le=1, description="rho, share of the last aggregate in what is perturbed, likewise"
        )

    settings: Settings
    shardable = True

    def craft(self, view: AttackView) -> Tensor:
        mean = view.honest.mean()
        last = mean if view.facts.last_step is None else view.facts.last_step.to(mean)
        both = view.own.beside(last[None]).extend(mean[None])
        of_u, of_ones = self._perturbation(both)
        weight, rho, z = self.settings.reference_weight, self.settings.relocation, self.settings.z
        shares = torch.tensor([rho + z * of_u * weight, 1 - rho + z * of_u * (1 - weight)], dtype=torch.float64)
        shares = shares[:, None].to(mean.device)
        return both.map_columns(lambda block: sum_rows(block * shares).add_(z * of_ones))

    def _perturbation(self, both: UpdateMatrix) -> tuple[float, float]:
        """How much of u and how much of the ones pi is made of, u being a sum of the rows [2, D] of m and mu."""
        weight, angle = self.settings.reference_weight, radians(self.settings.angle)

        def sums(block: Tensor) -> Tensor:
            last, mean = block.double()
            u = weight * last + (1 - weight) * mean
            return torch.stack([u.square().sum(), u.sum()])

        squares, total = both.sum_over_blocks(sums).tolist()
        ones = both.num_columns
        if squares == 0:
            return 0.0, ones**-0.5
        rest = ones - total**2 / squares  # squared length of 1 - (total / squares) u
        if rest <= TIE * ones:
            return squares**-0.5, 0.0
        of_ones = sin(angle) / rest**0.5
        return cos(angle) / squares**0.5 - of_ones * total / squares, of_ones
