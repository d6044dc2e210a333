"""A little is enough."""

from statistics import NormalDist
from typing import Literal

from pydantic import Field
from torch import Tensor

from fedsim.attacks.base import Attack, AttackView, attacks
from fedsim.registry import Reference
from fedsim.settings import Schema
from fedsim.updates.order_statistics import sum_rows

LARGEST_PROBABILITY = 1 - 1e-6


def largest_hidden_z(num_rows: int, num_byzantine: int) -> float:
    """The largest z that a majority of clients still supports (Baruch et al., Algorithm 3); at least 0.

    >>> round(largest_hidden_z(50, 24), 2)    # the paper's worked example: z = 1.43
    1.43
    """
    supporters = num_rows // 2 + 1 - num_byzantine
    honest = num_rows - num_byzantine
    share = (honest - supporters) / honest
    return max(0.0, NormalDist().inv_cdf(min(max(share, 1 - LARGEST_PROBABILITY), LARGEST_PROBABILITY)))


@attacks.register(
    "alie",
    Reference(
        authors="Baruch, Baruch and Goldberg",
        title="A Little Is Enough: Circumventing Defenses For Distributed Learning",
        year=2019,
        venue="NeurIPS",
        url="https://arxiv.org/abs/1902.06156",
    ),
)
class ALittleIsEnough(Attack):
    """The honest mean less z honest standard deviations: a shift that hides in the spread of the honest rows.

    All B Byzantine clients send

        x = mu - z sigma,

    mu and sigma [D] being the mean and the unbiased standard deviation of the H honest rows, coordinate by coordinate
    (sigma = 0 for H = 1). With ``z: auto`` it is the largest z for which s honest clients are expected to lie beyond
    x, where s together with the B attackers makes a majority of the K = H + B clients:

        s = floor(K/2 + 1) - B,    z = max(0, Phi^-1((H - s) / H)),

    Phi being the standard normal distribution function; the probability is kept between 1e-6 and 1 - 1e-6.

    The shift is z times the spread, so whatever brings honest rows closer together weakens the attack: client
    momentum, larger batches, clients with similar data.

    The original is not omniscient: it estimates mu and sigma from the clean updates of the corrupted clients. Here
    they are those of the honest rows, since the FedSECA paper lets every attacker see them. Its released code takes
    them over all K clean rows and shifts z by up to 0.05 at random; here the row is exactly the formula's.

    >>> import torch
    >>> honest = torch.tensor([[1.0], [3.0]])
    >>> ALittleIsEnough(z=1.0)(AttackView(honest=honest, own=torch.zeros(1, 1)))
    tensor([[0.5858]])
    """

    class Settings(Schema):
        z: float | Literal["auto"] = Field(1.0, description="standard deviations; auto: the largest that hides")

    settings: Settings
    shardable = True

    def craft(self, view: AttackView) -> Tensor:
        z = self.settings.z
        if z == "auto":
            z = largest_hidden_z(view.num_honest + view.num_byzantine, view.num_byzantine)
        self.diagnostics = {"z": z}

        def mean_minus_deviations(block: Tensor) -> Tensor:
            mean = sum_rows(block) / len(block)
            if len(block) == 1:  # a single honest row has no spread
                return mean
            spread = (sum_rows((block.double() - mean).square()) / (len(block) - 1)).sqrt()
            return mean - z * spread

        return view.honest.map_columns(mean_minus_deviations)
