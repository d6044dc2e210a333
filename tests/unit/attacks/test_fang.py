"""Fang's attacks: against the sign, against Krum, against the trimmed mean."""

import math

import pytest
import torch
from torch import Tensor

from fedsim.aggregators import build_aggregator
from fedsim.attacks import build_attack
from fedsim.attacks.fang import upper_bound
from fedsim.updates.context import RoundContext
from fedsim.updates.matrix import BLOCK
from support.attack_views import COLUMNS, full_context, full_view, view_against
from support.column_ranks import AttackOnRanks
from support.references import direct_squared_distances, krum_choice, random_rows


def test_fang_pushes_every_coordinate_against_its_sign() -> None:
    rows = random_rows(5, 200)
    rows[:, 7] = 0
    sent = build_attack("fang", strength=0.25)(full_view(rows, torch.zeros(2, 200)))
    mean = rows.double().mean(0)
    expected = mean - 0.25 * mean.sign()
    torch.testing.assert_close(sent.double(), expected.expand(2, -1), rtol=1e-6, atol=1e-6)
    assert sent[0, 7] == 0


def literal_bound(rows: Tensor, byzantine: int) -> float:
    """Theorem 1 of Fang et al. for a global model of zero, by loops."""
    honest, columns = rows.shape
    distances = direct_squared_distances(rows).tolist()
    count = max(1, honest + byzantine - byzantine - 2)
    sums = [sum(sorted(distances[i][j] for j in range(honest) if j != i)[:count]) for i in range(honest)]
    norms = rows.double().norm(dim=1)
    return math.sqrt(min(sums) / (max(1, honest - byzantine - 1) * columns)) + float(norms.max()) / math.sqrt(columns)


@pytest.mark.parametrize(("honest", "byzantine"), [(1, 1), (2, 1), (3, 2), (6, 3), (9, 1)])
def test_fangs_lambda_starts_at_the_papers_bound(honest: int, byzantine: int) -> None:
    rows = random_rows(honest, COLUMNS)
    squares = rows.double().square().sum(1)
    bound = upper_bound(direct_squared_distances(rows), squares, byzantine, COLUMNS)
    assert bound == pytest.approx(literal_bound(rows, byzantine), rel=1e-12)
    attack = build_attack("fang", target="krum")
    attack(view_against(rows, byzantine))
    halvings = math.log2(bound / attack.diagnostics["lambda"])
    assert halvings == pytest.approx(round(halvings), abs=1e-6)
    assert halvings > -1e-6


@pytest.mark.filterwarnings("ignore:.*whose proof holds:fedsim.errors.FedsimWarning")
@pytest.mark.parametrize("spread", [0.01, 1.0, 30.0])
@pytest.mark.parametrize(("honest", "byzantine"), [(3, 1), (6, 1), (6, 2), (7, 3), (10, 4)])
def test_krum_selects_what_fang_says_it_selects(honest: int, byzantine: int, spread: float) -> None:
    """And nothing at twice the lambda, or it would not have been halved."""
    for seed in range(4):
        rows = spread * random_rows(honest, 15, seed=seed)
        rows += random_rows(1, 15, seed=50)
        attack = build_attack("fang", target="krum")
        sent = attack(view_against(rows, byzantine))
        strength = attack.diagnostics["lambda"]
        torch.testing.assert_close(sent[0], -strength * rows.mean(0).sign())
        both = torch.cat([rows, sent])
        krum = build_aggregator("krum", num_byzantine=byzantine)
        krum(both)
        chosen = int(krum.diagnostics.trust.argmax())
        assert chosen == krum_choice(both, byzantine)
        assert (chosen >= honest) == bool(attack.diagnostics["selected"])
        assert attack.diagnostics["selected"] or strength < 1e-5
        if strength * 2 <= literal_bound(rows, byzantine):
            assert krum_choice(torch.cat([rows, 2 * sent]), byzantine) < honest


def test_fang_against_krum_is_selected_where_honest_clients_disagree_and_gives_up_where_not() -> None:
    attack = build_attack("fang", target="krum")
    attack(view_against(random_rows(6, COLUMNS, shift=0.1), 3))
    assert attack.diagnostics["selected"] == 1
    agreeing = 1 + 1e-7 * torch.randn(7, COLUMNS, generator=torch.Generator().manual_seed(0))
    attack(view_against(agreeing, 1))
    assert attack.diagnostics["selected"] == 0
    assert 5e-6 <= attack.diagnostics["lambda"] < 1e-5
    assert not attack(view_against(torch.zeros(4, 3), 1)).any()


def test_ties_of_krum_go_to_the_lower_id_in_fangs_sight_too() -> None:
    """Two honest and two attackers, f = 2: every row has one neighbour; pairs at distance 0 tie."""
    rows = torch.ones(2, 4)
    for honest_first in (True, False):
        ids = (0, 1, 2, 3) if honest_first else (2, 3, 0, 1)
        attack = build_attack("fang", target="krum")
        attack(view_against(rows, 2, context=RoundContext(client_ids=ids)))
        assert attack.diagnostics["selected"] == float(not honest_first)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_fang_against_the_trimmed_mean_stays_just_beyond_the_honest_values(dtype: torch.dtype) -> None:
    rows = random_rows(5, 4000, shift=1.5).to(dtype)
    rows[:, :10] = 0
    rows[:, 10:20] = rows[:1, 10:20].abs() + torch.arange(1, 6, dtype=dtype)[:, None]  # all positive
    rows[:, 20:30] = -rows[:, 10:20]
    sent = build_attack("fang", target="trimmed_mean")(view_against(rows, 3, context=full_context(8)))
    mean, low, high = rows.double().mean(0), rows.amin(0), rows.amax(0)
    for row in sent:
        down, up = row[mean > 0], row[mean < 0]
        m, top = low[mean > 0], high[mean < 0]
        assert bool((down <= m).all() and (down >= torch.where(m > 0, m / 2, 2 * m)).all())
        assert bool((up >= top).all() and (up <= torch.where(top < 0, top / 2, 2 * top)).all())
        assert not row[:10].any()
        shares = (down - m) / torch.where(m > 0, -m / 2, m)
        shares = shares[m != 0]
        assert 0.45 < float(shares.mean()) < 0.55
        assert float(shares.std()) == pytest.approx(12**-0.5, abs=0.02)
    shares = (sent - sent.double().mean(0)).double()
    assert abs(float(torch.corrcoef(shares[:2, 30:])[0, 1]) + 0.5) < 0.1  # of three independent rows, less their mean


def test_fangs_draws_belong_to_the_client_and_the_round() -> None:
    rows = random_rows(5, COLUMNS)

    def sent(ids: tuple[int, ...], seed: int) -> Tensor:
        context = RoundContext(client_ids=(*range(5), *ids), generator=torch.Generator().manual_seed(seed))
        return build_attack("fang", target="trimmed_mean")(view_against(rows, len(ids), context=context))

    assert torch.equal(sent((7, 9), 0)[1], sent((9,), 0)[0])
    assert not torch.equal(sent((9,), 0), sent((9,), 1))
    assert not torch.equal(sent((7, 9), 0)[0], sent((7, 9), 0)[1])


@pytest.mark.parametrize("target", ["krum", "trimmed_mean"])
def test_fangs_targets_agree_whole_and_on_three_ranks(target: str) -> None:
    rows = random_rows(5, 3 * BLOCK + 77)
    whole = build_attack("fang", target=target)
    distributed = AttackOnRanks(whole, 3)
    assert torch.equal(whole(view_against(rows)), distributed(view_against(rows)))
