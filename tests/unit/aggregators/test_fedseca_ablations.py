"""FedSECA with its parts switched off, against a literal float64 form of Eq. 4-11 and by hand."""

import itertools
from typing import Any

import pytest
import torch

from fedsim.aggregators import build_aggregator
from support.aggregation import assert_steps, case_id, steps_over
from support.attack_references import CRAFTED, attacked_rounds, attacked_rows, crafted, papers_clients
from support.fedseca_reference import fedseca
from support.references import integer_rows, random_rows

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
    rounds = attacked_rounds(clients, byzantine, attack)
    settings: dict[str, Any] = {"sparsity": 0.9, "momentum": 0.5, "variant": variant}
    assert_steps(steps_over("fedseca", rounds, **settings), fedseca(rounds, **settings))


@papers_clients
@ablated
def test_fedseca_with_every_ablation(clients: int, byzantine: int, settings: dict[str, Any]) -> None:
    for attack, sparsity in zip(CRAFTED, [0.0, 0.5, 0.9], strict=True):
        rounds = attacked_rounds(clients, byzantine, attack, columns=60)
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


def test_every_part_can_be_switched_off_by_hand() -> None:
    """One row against two, of norms 5, 5 and 13; every value survives but the smallest of a row."""
    rows = torch.tensor([[3.0, 4.0, 0.0], [4.0, 3.0, 0.0], [-12.0, 5.0, 0.0]])

    def step(**settings: object) -> list[float]:
        return build_aggregator("fedseca", sparsity=0.0, **settings)(rows).tolist()

    # Clipped to 5, the third row is -60/13, 25/13; medians of the magnitudes are 4 and 3, of the raw ones 4 and 4.
    assert step() == pytest.approx([3.5, (3 + 3 + 25 / 13) / 3, 0])
    assert step(clamp=False) == pytest.approx([3.5, (4 + 3 + 25 / 13) / 3, 0])
    assert step(clip=False) == pytest.approx([3.5, (4 + 3 + 4) / 3, 0])
    assert step(clip=False, clamp=False) == pytest.approx([3.5, 4, 0])
    # -12 outweighs 3 + 4 where values are summed; of votes it has one against two.
    assert step(election="magnitude") == pytest.approx([-4, (3 + 3 + 25 / 13) / 3, 0])
    assert step(election="uniform") == step()
    assert step(agree=False) == pytest.approx([(3 + 4 - 4) / 3, (3 + 3 + 25 / 13) / 3, 0])


def test_uniform_votes_count_clients_that_the_concordance_ratio_silences() -> None:
    rows = torch.tensor([[1.0, 1, 1, 1], [1, 1, 1, -1], [-1, -1, 1, 1], [-1, -1, -1, -1]])  # ratios 1/4, 0, 0, 0
    concordance, uniform = (
        build_aggregator("fedseca", sparsity=0.0, election=election) for election in ("concordance", "uniform")
    )
    rows = rows * torch.tensor([1.0, 1.1, 1.2, 1.3])  # the smallest magnitude of each row, in column 0, is dropped
    assert concordance(rows).sign().tolist() == [0, 1, 1, 1]
    assert uniform(rows).sign().tolist() == [0, 0, 1, 0]


def test_without_concordance_ratios_there_is_no_trust() -> None:
    aggregator = build_aggregator("fedseca", election="uniform")
    aggregator(random_rows(5, 101))
    assert aggregator.diagnostics.trust is None
    assert "concordance_ratio" not in aggregator.diagnostics.per_client
