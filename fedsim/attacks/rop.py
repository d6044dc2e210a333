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
    """The last aggregate, moved by z at an angle to where the clients are heading.

    With m the last aggregate (in the first round mu, the honest mean), u = lambda m + (1 - lambda) mu, and o what is
    orthogonal to u of the vector of ones, both brought to length one:

        pi = sin(angle) o + cos(angle) u,    row = rho m + (1 - rho) mu + z pi.

    pi has length one itself. Without an angle to turn by [ours], pi is u where the ones are parallel to u (so it
    always is with one coordinate), and the ones, brought to length one, where u is zero.

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

    def craft(self, view: AttackView) -> Tensor:
        mean = view.honest.mean()
        last = mean if view.facts.last_step is None else view.facts.last_step.to(mean)
        both = UpdateMatrix(last[None]).extend(mean[None])
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
