"""Views that attacks are shown in tests."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from fedsim.aggregators import RoundContext, build_aggregator
from fedsim.aggregators.defence import Defence
from fedsim.aggregators.pre import pre_aggregators
from fedsim.attacks import Attack, AttackView
from fedsim.attacks.probe import Probed
from fedsim.participation.attack_plan import AttackPlan, Campaign
from fedsim.server.adversary import Adversary
from fedsim.updates.layout import RowLayout
from fedsim.updates.matrix import UpdateMatrix
from support.references import random_rows

FIRST_OWN_ID = 100
"""In full views, of the Byzantine clients."""
ATTACKER = 90
"""The same in views of a round."""
COLUMNS = 60
TAILORED = {"agr_tailored": "min_max", "opt_alie": "alie", "opt_ipm": "ipm"}
"""Each tailored attack with its untailored parent."""


def full_view(
    honest: Tensor | UpdateMatrix,
    own: Tensor | UpdateMatrix,
    *,
    round_index: int = 1,
    ids: Sequence[int] | None = None,
) -> AttackView:
    """A view with everything that an attack may ask for; ``ids`` are those of the honest clients."""
    honest_ids = range(len(honest)) if ids is None else ids
    return AttackView(
        honest=UpdateMatrix.of(honest),
        own=UpdateMatrix.of(own),
        aggregator=build_aggregator("cwmed"),
        context=RoundContext(
            round=round_index,
            client_ids=(*honest_ids, *range(FIRST_OWN_ID, FIRST_OWN_ID + len(own))),
            last_step=random_rows(1, own.shape[1], seed=50 + round_index)[0].to(own.dtype),
            weights=random_rows(1, own.shape[1], seed=70)[0].to(own.dtype),
            generator=torch.Generator().manual_seed(5 + round_index),
        ),
    )


def round_view(
    honest: Tensor | UpdateMatrix,
    own: Tensor | UpdateMatrix,
    *,
    ids: Sequence[int] | None = None,
    own_ids: Sequence[int] = (ATTACKER, ATTACKER + 1),
    round_index: int = 0,
    last_step: Tensor | None = None,
    seed: int = 5,
) -> AttackView:
    """A view without an aggregator, for attacks that go by rounds and clients."""
    honest_ids = range(len(honest)) if ids is None else ids
    context = RoundContext(
        round=round_index,
        client_ids=(*honest_ids, *own_ids[: len(own)]),
        last_step=last_step,
        generator=torch.Generator().manual_seed(seed),
    )
    return AttackView(honest=UpdateMatrix.of(honest), own=UpdateMatrix.of(own), context=context)


def view_against(
    honest: Tensor | UpdateMatrix, byzantine: int = 2, aggregator: Probed | None = None, **more: Any
) -> AttackView:
    """A view for so many Byzantine clients, with an aggregator that they may probe."""
    own = torch.zeros(byzantine, UpdateMatrix.of(honest).num_columns, dtype=honest.dtype)
    return AttackView(honest=UpdateMatrix.of(honest), own=UpdateMatrix(own), aggregator=aggregator, **more)


def full_context(
    count: int, columns: int = COLUMNS, round_index: int = 0, last_step: Tensor | None = None
) -> RoundContext:
    """Everything that an aggregator may ask for; ids are not the rows' numbers."""
    return RoundContext(
        round=round_index,
        client_ids=tuple((5 * row + 3) % 101 for row in range(count)),
        layout=RowLayout({"weight": (columns // 10, 10), "bias": (columns % 10,)}),
        last_step=last_step,
        generator=torch.Generator().manual_seed(round_index),
        sample_counts=tuple(20 + row for row in range(count)),
    )


def defences() -> dict[str, Defence]:
    """Several aggregators, alone and behind nearest-neighbour mixing."""
    names = ["krum", "multi_krum", "cwtm", "cwmed", "rfa", "centered_clipping", "fedseca"]
    settings: dict[str, dict[str, Any]] = {"fedseca": {"momentum": 0.5}, "centered_clipping": {"radius": 3.0}}
    made = {name: Defence(build_aggregator(name, **settings.get(name, {}))) for name in names}
    nnm = {f"nnm+{name}": Defence(made[name].aggregator, [pre_aggregators.build("nnm")]) for name in names}
    return {**made, **nnm}


def real_deviation(defence: Probed, honest: Tensor, sent: Tensor, context: RoundContext) -> float:
    """How far the defence's step is from the mean of the honest rows."""
    step = copy.deepcopy(defence)(torch.cat([honest, sent]), context)
    return float((step.double() - honest.double().mean(0)).norm())


def lone_adversary(clients: list[int], attack: Attack) -> Adversary:
    """One attack by these clients, in every round."""
    campaign = Campaign(name=attack.name, clients=tuple(clients), trains=attack.trains)
    return Adversary(AttackPlan([campaign], num_clients=8, rounds=1, seed=0), [attack])
