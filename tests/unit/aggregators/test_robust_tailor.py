"""RobustTailor against a slow form of its definition."""

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from fedsim.aggregators import build_aggregator
from fedsim.aggregators.robust_tailor import play
from fedsim.attacks import attacks, available_attacks
from fedsim.errors import ConfigError
from support.aggregation import context_of
from support.references import direct_squared_distances, krum, median, random_rows, random_vectors, trimmed_mean


def slow_game(losses: Sequence[Sequence[float]]) -> tuple[list[float], list[float]]:
    """Ten multiplicative steps of both players."""
    server, attacker = [1.0] * len(losses), [1.0] * len(losses[0])
    for _ in range(10):
        p = [w / sum(server) for w in server]
        q = [w / sum(attacker) for w in attacker]
        server = [w * math.exp(-sum(q[a] * loss[a] for a in range(len(q)))) for w, loss in zip(server, losses)]  # noqa: B905
        attacker = [w * math.exp(sum(p[r] * losses[r][a] for r in range(len(p)))) for a, w in enumerate(attacker)]
    return [w / sum(server) for w in server], [w / sum(attacker) for w in attacker]


def test_the_game_equals_multiplicative_weights() -> None:
    for seed in range(5):
        losses = random_vectors(4, 3, seed).tanh()
        server, attacker = slow_game(losses.tolist())
        found = play(losses)
        assert found[0].tolist() == pytest.approx(server)
        assert found[1].tolist() == pytest.approx(attacker)


def slow_robust_tailor(rows: Tensor) -> list[float]:
    """The server's weights for krum, cwmed and cwtm under ipm and alie, with f = (K-3)/2."""
    count = len(rows)
    f = max(0, (count - 3) // 2)
    distances = direct_squared_distances(rows).tolist()
    scores = []
    for i in range(count):
        others = sorted(distances[i][j] for j in range(count) if j != i)
        scores.append(sum(others[: count - f - 2]))
    honest = rows[sorted(range(count), key=scores.__getitem__)[: count - f]].double()
    mean = honest.mean(0)
    losses: list[list[float]] = [[], [], []]
    for forged in (-1.3 * mean, mean - honest.std(0)):
        attacked = torch.cat([honest, forged.expand(f, -1)])
        for kept, rule in zip(losses, (krum, median, trimmed_mean), strict=True):
            kept.append(-float(torch.cosine_similarity(mean, rule(attacked), dim=0)))
    return slow_game(losses)[0]


@pytest.mark.parametrize("count", [3, 4, 5, 7, 12])
def test_robust_tailor_weighs_the_rules_as_its_definition_does(count: int) -> None:
    pool = ["krum", "cwmed", "cwtm"]
    for seed in range(3):
        rows = random_rows(count, 60, seed=seed)
        tailor = build_aggregator("robust_tailor", pool=pool, attacks=["ipm", "alie"])
        step = tailor(rows, context_of(range(count), seed))
        found = [tailor.diagnostics.scalars[f"weight_{name}"] for name in pool]
        assert found == pytest.approx(slow_robust_tailor(rows), rel=1e-4)
        drawn = pool[int(tailor.diagnostics.scalars["drawn_rule"])]
        assert torch.equal(step, build_aggregator(drawn)(rows))


def test_robust_tailor_draws_by_the_weights_of_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    tailor = build_aggregator("robust_tailor", pool=["fedavg", "cwmed"], attacks=["ipm"])
    losses = torch.tensor([[0.05], [0.0]], dtype=torch.float64)  # odds of 1 to e^0.5
    monkeypatch.setattr(tailor, "_losses", lambda *_: losses)
    rows, times, share = torch.tensor([[0.0], [0.0], [9.0]]), 300, 1 / (1 + math.exp(-0.5))
    drawn = [float(tailor(rows, context_of(range(3), number))) == 0.0 for number in range(times)]
    assert tailor.diagnostics.scalars["weight_cwmed"] == pytest.approx(share)
    assert abs(sum(drawn) / times - share) < 4 * math.sqrt(share * (1 - share) / times)


def test_robust_tailor_prefers_the_rule_that_withstands() -> None:
    rows = 1 + 0.1 * random_rows(9, 50)
    tailor = build_aggregator("robust_tailor", pool=["fedavg", "cwmed"], attacks=["ipm", "scaling"])
    tailor(rows, context_of(range(9)))
    assert tailor.diagnostics.scalars["weight_cwmed"] > tailor.diagnostics.scalars["weight_fedavg"]


def test_robust_tailor_has_the_surrogates_of_multi_krum() -> None:
    tailor = build_aggregator("robust_tailor")
    rows = torch.cat([random_rows(5, 40), 50 + random_rows(2, 40, seed=1)])
    tailor(rows, context_of([9, 3, 4, 1, 0, 7, 8]))
    assert tailor.diagnostics.per_client["surrogate"].tolist() == [1, 1, 1, 1, 1, 0, 0]


def test_robust_tailor_advances_a_rule_only_when_it_is_drawn() -> None:
    tailor = build_aggregator("robust_tailor", pool=["centered_clipping"])
    alone = build_aggregator("centered_clipping")
    for number in range(3):
        rows = random_rows(7, 30, seed=number)
        assert torch.equal(tailor(rows, context_of(range(7), number)), alone(rows, context_of(range(7), number)))


def test_robust_tailor_with_huge_rows_stays_among_the_honest() -> None:
    for seed in range(5):
        honest = 1e-3 * random_rows(5, 80, seed=seed)
        rows = torch.cat([honest, torch.full((2, 80), 1e20)])
        step = build_aggregator("robust_tailor", pool=["krum", "cwmed", "cwtm"])(rows, context_of(range(7), seed))
        assert float(step.abs().max()) <= float(honest.abs().max())


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"pool": ["krumm"]}, "pool"),
        ({"attacks": ["ipmm"]}, "attacks"),
        ({"pool": []}, "pool"),
        ({"attacks": []}, "attacks"),
        ({"pool": "krum"}, "pool"),
    ],
)
def test_robust_tailor_refuses_unknown_rules_and_attacks(settings: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError, match=f"^{key}"):
        build_aggregator("robust_tailor", **settings)


def test_robust_tailor_refuses_an_attack_that_probes_an_aggregator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attacks.get("ipm"), "probes", True)
    with pytest.raises(ConfigError, match=r"^attacks.*'ipm' probes"):
        build_aggregator("robust_tailor", attacks=["alie", "ipm"])


def test_robust_tailor_simulates_what_there_is_of_the_default_attacks() -> None:
    tailor = build_aggregator("robust_tailor")
    tailor(random_rows(7, 30), context_of(range(7)))
    wanted = {f"weight_{name}" for name in [*tailor.settings.pool, *tailor.settings.attacks]}
    missing = {f"weight_{name}" for name in tailor.settings.attacks if name not in available_attacks()}
    assert {key for key in tailor.diagnostics.scalars if key.startswith("weight_")} == wanted - missing
