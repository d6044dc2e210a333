"""The rules of the FedSECA paper's tables, at its numbers of clients, against slow forms of their definitions."""

import itertools
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.cluster import MeanShift as TheirMeanShift
from sklearn.cluster import estimate_bandwidth
from torch import Tensor

from fedsim.aggregators import build_aggregator
from fedsim.aggregators.pre import pre_aggregators
from fedsim.attacks import build_attack
from support.aggregation import case_id, context_of, transform
from support.attack_views import full_view
from support.distance_references import arc, bulyan, caf, mda, meamed, multi_krum, nnm
from support.iterative_references import plain_clipping, plain_huber, plain_rfa
from support.references import integer_rows, krum, median, random_rows, trimmed_mean
from support.released_forms import (
    CRAFTED,
    PAPER_CLIENTS,
    MeanShift,
    attacked_rows,
    copod_dos,
    fedseca,
    sign_features,
    signguard,
)
from support.sign_references import ties
from support.slow_fldetector import SlowFLDetector

papers_clients = pytest.mark.parametrize(("clients", "byzantine"), PAPER_CLIENTS)
crafted = pytest.mark.parametrize("attack", CRAFTED)
ROUNDS = 4
NARROW = 1e-6
"""scikit-learn's distances are rounded by up to 1e-8: a decision closer than this may go either way."""


def rounds_of(clients: int, byzantine: int, attack: str, columns: int = 200) -> list[Tensor]:
    return [attacked_rows(clients, byzantine, attack, seed, columns) for seed in range(ROUNDS)]


def steps_over(name: str, rounds: Sequence[Tensor], **settings: Any) -> list[Tensor]:
    """The steps of one aggregator in successive rounds; each knows the step before."""
    aggregator, steps, last = build_aggregator(name, **settings), list[Tensor](), None
    for number, rows in enumerate(rounds):
        last = aggregator(rows, context_of(range(len(rows)), number, last))
        steps.append(last)
    return steps


def assert_steps(found: Sequence[Tensor], expected: Sequence[Tensor], rtol: float = 1e-5) -> None:
    """Each coordinate of each round's step, relative to itself and to the largest one."""
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=rtol, atol=rtol * float(other.abs().max()))


# FedSECA -------------------------------------------------------------------------------------------

VARIANTS = ["paper", "released_code"]
ABLATIONS: list[dict[str, Any]] = [
    {"variant": variant, **dict(zip(("election", "clip", "clamp", "agree"), choice, strict=True))}
    for variant in VARIANTS
    for choice in itertools.product(
        ["concordance", "uniform", "magnitude"], [True, False], [True, False], [True, False]
    )
    if choice[3] or choice[0] == "concordance"  # a mean over all needs no election
]
ablated = pytest.mark.parametrize("settings", ABLATIONS, ids=case_id)


@papers_clients
@crafted
@pytest.mark.parametrize("variant", VARIANTS)
def test_fedseca_with_the_settings_of_the_presets(clients: int, byzantine: int, attack: str, variant: str) -> None:
    rounds = rounds_of(clients, byzantine, attack)
    settings: dict[str, Any] = {"sparsity": 0.9, "momentum": 0.5, "variant": variant}
    assert_steps(steps_over("fedseca", rounds, **settings), fedseca(rounds, **settings))


@papers_clients
@ablated
def test_fedseca_with_every_ablation(clients: int, byzantine: int, settings: dict[str, Any]) -> None:
    for attack, sparsity in zip(CRAFTED, [0.0, 0.5, 0.9], strict=True):
        rounds = rounds_of(clients, byzantine, attack, columns=60)
        more = {"sparsity": sparsity, "momentum": 0.5, **settings}
        assert_steps(steps_over("fedseca", rounds, **more), fedseca(rounds, **more))


@ablated
def test_fedseca_with_every_ablation_and_ties_everywhere(settings: dict[str, Any]) -> None:
    for clients, seed in itertools.product([4, 5, 6, 7], range(3)):
        rows = integer_rows(clients, 41, seed)
        for sparsity in (0.0, 0.5):
            found = steps_over("fedseca", [rows], sparsity=sparsity, **settings)
            assert_steps(found, fedseca([rows], sparsity, **settings))


def test_the_released_code_clamps_unclipped_rows_to_the_median_of_the_clipped_ones() -> None:
    rows = torch.tensor([[2.0, 0.0], [0.0, 4.0], [8.0, 6.0], [6.0, 8.0]])
    expected = torch.tensor([2.0, 2.4]).double()
    settings: dict[str, Any] = {"sparsity": 0.0, "variant": "released_code"}
    torch.testing.assert_close(fedseca([rows], **settings)[0], expected)
    torch.testing.assert_close(build_aggregator("fedseca", **settings)(rows).double(), expected)


def test_each_ablation_of_fedseca_changes_the_step() -> None:
    rows = attacked_rows(7, 3, "ipm", seed=0)
    full = fedseca([rows], 0.5)[0]
    for change in [{"election": "uniform"}, {"election": "magnitude"}, {"clip": False}, {"clamp": False}]:
        assert not torch.allclose(fedseca([rows], 0.5, **change)[0], full), change  # type: ignore[arg-type]
    assert not torch.allclose(fedseca([rows], 0.5, agree=False)[0], full)


# SignGuard -----------------------------------------------------------------------------------------


def their_labels(features: np.ndarray[Any, Any], bandwidth: float) -> list[int]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        shift = TheirMeanShift(bandwidth=bandwidth, bin_seeding=True, cluster_all=False)
        return shift.fit(features).labels_.tolist()


def rows_of_signs(clients: int, columns: int, seed: int) -> Tensor:
    """Each client with a share of pluses of its own, a few zeros, and a length of its own."""
    generator = torch.Generator().manual_seed(seed)
    shares = 0.3 + 0.4 * torch.rand(clients, 1, generator=generator)
    signs = 2.0 * (torch.rand(clients, columns, generator=generator) < shares) - 1
    signs *= torch.rand(clients, columns, generator=generator) < 0.95
    return signs * (0.5 + torch.rand(clients, 1, generator=generator))


@pytest.mark.parametrize("clients", [4, 5, 6, 7])
def test_the_slow_mean_shift_finds_what_scikit_learn_finds(clients: int) -> None:
    compared, left_out = 0, 0
    for seed in range(40):
        features = sign_features(rows_of_signs(clients, 200, seed).double().numpy())
        shift = MeanShift(features)
        found = shift.clusters()
        if found.narrow < NARROW:
            continue
        compared += 1
        assert shift.bandwidth == pytest.approx(estimate_bandwidth(features, quantile=0.5), abs=1e-7)
        assert found.labels == their_labels(features, shift.bandwidth)
        left_out += -1 in found.labels
    assert compared > 20
    assert left_out > 0


def assert_signguard(rows: Tensor, **settings: float) -> bool:
    """Whether the case was clear enough to compare."""
    columns = rows.shape[1]
    expected, kept, narrow = signguard(rows, 0, columns, **settings)
    if narrow < NARROW:
        return False
    aggregator = build_aggregator("signguard", coordinate_share=1.0, **settings)
    assert_steps([aggregator(rows)], [expected])
    assert aggregator.diagnostics.trust.tolist() == [float(keep) for keep in kept]
    return True


@papers_clients
@crafted
def test_signguard_at_the_papers_numbers_of_clients(clients: int, byzantine: int, attack: str) -> None:
    assert sum(assert_signguard(attacked_rows(clients, byzantine, attack, seed)) for seed in range(12)) > 6


@pytest.mark.parametrize("clients", [1, 2, 3, 4, 5, 6, 7, 8])
def test_signguard_with_sign_shares_of_all_kinds(clients: int) -> None:
    assert sum(assert_signguard(rows_of_signs(clients, 50, seed)) for seed in range(12)) > 4
    assert sum(assert_signguard(rows_of_signs(clients, 50, seed), lower=0.9, upper=1.2) for seed in range(12)) > 4


def test_signguard_leaves_out_who_is_in_no_cluster() -> None:
    rows = torch.tensor([[1.0] * plus + [-1.0] * (10 - plus) for plus in (0, 4, 5, 5, 6)])
    expected, kept, _ = signguard(rows, 0, 10)
    assert kept == [False, False, True, True, True]
    assert expected[4] == 1.0
    aggregator = build_aggregator("signguard", coordinate_share=1.0)
    step = aggregator(rows)
    assert step[4] == 1.0
    assert aggregator.diagnostics.trust.tolist() == [0, 0, 1, 1, 1]


def test_signguard_filters_and_clips_by_the_lower_median_norm() -> None:
    """Lengths 1, 1, 2.5, 2.5 have the lower median 1 and the usual one 1.75."""
    rows = torch.tensor([[1.0], [1.0], [2.5], [2.5]])
    step = build_aggregator("signguard", upper=2.0)(rows)  # by the usual median all pass, and are clipped to 1.75
    torch.testing.assert_close(step.double(), signguard(rows, 0, 1, upper=2.0)[0])
    assert step.item() == 1.0
    assert build_aggregator("signguard")(rows).item() == 1.0


# The other rules -----------------------------------------------------------------------------------

AT_F: dict[str, Callable[[Tensor, int], Tensor]] = {
    "cwtm": trimmed_mean,
    "krum": krum,
    "multi_krum": multi_krum,
    "bulyan": bulyan,
    "meamed": meamed,
    "mda": mda,
    "caf": caf,
    "nnm": nnm,
    "arc": arc,
}
PRE = {"nnm", "arc"}
LARGEST: Mapping[str, Callable[[int], int]] = {
    "bulyan": lambda clients: max(0, (clients - 3) // 4),
    "multi_krum": lambda clients: max(0, (clients - 3) // 2),
    "krum": lambda clients: clients - 1,  # it warns and goes on
}
DECIDED_BY_AN_EIGENVECTOR = {"caf"}
"""With small integers it may not be unique."""


def made_by(name: str, rows: Tensor, f: int) -> Tensor:
    if name in PRE:
        return transform(pre_aggregators.build(name, num_byzantine=f), rows)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Krum's, beyond its proof
        return build_aggregator(name, num_byzantine=f)(rows)


def tolerances(name: str, clients: int) -> range:
    """Every f that the rule takes."""
    return range(LARGEST.get(name, lambda count: (count - 1) // 2)(clients) + 1)


@papers_clients
@crafted
@pytest.mark.parametrize("name", AT_F)
def test_rules_with_an_f(clients: int, byzantine: int, attack: str, name: str) -> None:
    for seed in range(ROUNDS):
        rows = attacked_rows(clients, byzantine, attack, seed)
        for f in tolerances(name, clients):
            assert_steps([made_by(name, rows, f)], [AT_F[name](rows, f)])


@pytest.mark.parametrize("clients", [4, 5, 6, 7])
@pytest.mark.parametrize("name", sorted(set(AT_F) - DECIDED_BY_AN_EIGENVECTOR))
def test_rules_with_an_f_and_ties_everywhere(clients: int, name: str) -> None:
    for seed in range(10):
        rows = integer_rows(clients, 12, seed)
        for f in tolerances(name, clients):
            assert_steps([made_by(name, rows, f)], [AT_F[name](rows, f)])


@papers_clients
@crafted
def test_multi_krum_beyond_its_proof(clients: int, byzantine: int, attack: str) -> None:
    """With at least one neighbour, and K - f rows selected."""
    for seed in range(ROUNDS):
        rows = attacked_rows(clients, byzantine, attack, seed)
        for f in range((clients - 3) // 2 + 1, clients):
            assert_steps([made_by("multi_krum", rows, f)], [multi_krum(rows, f)])


STATELESS: dict[str, tuple[dict[str, Any], Callable[[Tensor], Tensor]]] = {
    "cwmed": ({}, median),
    "rfa": ({}, plain_rfa),
    "huber": ({}, plain_huber),
    "copod_dos": ({}, copod_dos),
    "ties": ({"election": "sign"}, lambda rows: torch.from_numpy(ties(rows))),
    "ties by magnitude": ({"election": "magnitude"}, lambda rows: torch.from_numpy(ties(rows, election="magnitude"))),
}


@papers_clients
@crafted
@pytest.mark.parametrize("case", STATELESS)
def test_rules_without_an_f(clients: int, byzantine: int, attack: str, case: str) -> None:
    settings, slow = STATELESS[case]
    rounds = rounds_of(clients, byzantine, attack)
    found = [build_aggregator(case.split()[0], **settings)(rows) for rows in rounds]
    assert_steps(found, [slow(rows) for rows in rounds])


@pytest.mark.parametrize("case", STATELESS)
def test_rules_without_an_f_and_ties_everywhere(case: str) -> None:
    settings, slow = STATELESS[case]
    for clients, seed in itertools.product([5, 6, 7], range(8)):
        rows = integer_rows(clients, 30, seed)
        assert_steps([build_aggregator(case.split()[0], **settings)(rows)], [slow(rows)])


@papers_clients
@crafted
@pytest.mark.parametrize("radius", [100.0, 5.0, "auto"])
def test_centered_clipping_over_rounds(clients: int, byzantine: int, attack: str, radius: float | str) -> None:
    rounds = rounds_of(clients, byzantine, attack)
    expected, v = list[Tensor](), None
    for rows in rounds:
        v = plain_clipping(rows, v, radius)
        expected.append(v)
    assert_steps(steps_over("centered_clipping", rounds, radius=radius), expected)


@papers_clients
@crafted
def test_fldetector_over_rounds(clients: int, byzantine: int, attack: str) -> None:
    rounds = rounds_of(clients, byzantine, attack, columns=20)
    slow, last, expected = SlowFLDetector(2), None, []
    found = steps_over("fldetector", rounds, window=2)
    for number, rows in enumerate(rounds):
        references = torch.rand(10, clients, generator=torch.Generator().manual_seed(number), dtype=torch.float64)
        expected.append(slow(rows, last, references)[0])
        last = found[number]
    assert_steps(found, expected, rtol=1e-4)


def test_the_crafted_rows_are_those_of_the_attacks() -> None:
    for attack in CRAFTED:
        rows = attacked_rows(5, 2, attack, seed=1)
        sent = build_attack(attack)(full_view(rows[:3], random_rows(2, 200)))
        torch.testing.assert_close(sent, rows[3:], rtol=1e-5, atol=1e-6)
