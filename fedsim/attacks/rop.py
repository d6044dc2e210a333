"""ROP: relocated orthogonal perturbation, made for defences that remember their last aggregate."""

from math import cos, radians, sin

import torch
from pydantic import Field
from torch import Tensor

from fedsim.attacks.base import Attack, AttackView, attacks
from fedsim.settings import Schema

PARALLEL = 1e-12
"""Less than this share of the ones vector is left when it is parallel to the reference, up to rounding."""


def perpendicular(u: Tensor) -> Tensor | None:
    """Unit vector [D] along the ones vector less its projection on ``u`` [D]; None where nothing is left of it.

    >>> perpendicular(torch.tensor([1.0, 0.0]))
    tensor([0., 1.])
    >>> perpendicular(torch.tensor([2.0, 2.0])) is None
    True
    """
    square = torch.linalg.vector_norm(u, dtype=torch.float64).square()
    dot = u.sum(dtype=torch.float64)
    along = float(dot / square) if square > 0 else 0.0
    left = u.numel() - float(dot) * along
    if left <= PARALLEL * u.numel():
        return None
    return u.mul(-along).add_(1).div_(left**0.5)


@attacks.register(
    "rop", paper="Özfatura et al. 2023, Byzantines Can Also Learn From History: Fall of Centered Clipping"
)
class RelocatedOrthogonalPerturbation(Attack):
    """A mixture of the last aggregate and the honest mean, plus a push at a right angle to what the server expects.

    With m the last step (in the first round the honest mean), u = lambda m + (1 - lambda) mean, o the part of the
    ones vector perpendicular to u, of length one, and pi = sin(angle) o + cos(angle) u / ||u||, the row is
    rho m + (1 - rho) mean + z pi / ||pi||. lambda is ``reference_weight``, rho ``relocation``.

    Where u is parallel to the ones vector (always for D = 1) pi is u / ||u||, where u is zero it is o [ours].

    >>> honest = torch.tensor([[1.0, 0.0]])
    >>> RelocatedOrthogonalPerturbation(z=2.0)(AttackView(honest=honest, own=torch.zeros(1, 2)))
    tensor([[1., 2.]])
    """

    class Settings(Schema):
        angle: float = Field(90.0, ge=0, le=180, description="degrees between the push and the reference u")
        z: float = Field(0.5, description="length of the push")
        reference_weight: float = Field(0.9, ge=0, le=1, description="lambda, share of the last step in u")
        relocation: float = Field(1.0, ge=0, le=1, description="rho, share of the last step in what is pushed")

    settings: Settings

    def craft(self, view: AttackView) -> Tensor:
        settings, mean = self.settings, view.honest.mean()
        last = view.facts.last_step
        reference = mean if last is None else last.to(mean)
        u = torch.lerp(mean, reference, settings.reference_weight)
        row = torch.lerp(mean, reference, settings.relocation)
        return row.add_(self._push(u), alpha=settings.z)

    def _push(self, u: Tensor) -> Tensor:
        """pi / ||pi|| [D]."""
        length = torch.linalg.vector_norm(u, dtype=torch.float64)
        along = u / length.to(u.dtype) if length > 0 else torch.zeros_like(u)
        across = perpendicular(u)
        if across is None or length == 0:
            return along if across is None else across
        angle = radians(self.settings.angle)
        return across.mul_(sin(angle)).add_(along, alpha=cos(angle))  # of length one, being perpendicular
