"""RFFL against a slow form of its definition."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from fedsim.aggregators import build_aggregator
from fedsim.errors import ConfigError
from support.aggregation import context_of
from support.references import random_rows


class SlowRFFL:
    """RFFL with dicts, from its definition."""

    def __init__(self, fade: float, warmup_rounds: int, clip: float | None) -> None:
        self.fade, self.warmup_rounds, self.clip = fade, warmup_rounds, clip
        self.reputation: dict[int, float] = {}
        self.gone: set[int] = set()
        self.round = 0

    def __call__(self, rows: Tensor, ids: Sequence[int]) -> Tensor:
        updates = {k: row.double() for k, row in zip(ids, rows, strict=True) if k not in self.gone}
        step = torch.zeros(rows.shape[1], dtype=torch.float64)
        norms = sorted(float(g.norm()) for g in updates.values())
        limit = self.clip or (norms[(len(norms) - 1) // 2] if norms else 0.0)
        clipped = {k: g * min(1.0, limit / float(g.norm())) if g.any() else g for k, g in updates.items()}
        for k in updates:
            self.reputation.setdefault(k, 1 / len(updates))
        present = sum(self.reputation[k] for k in updates)
        for k, g in clipped.items():
            step += self.reputation[k] / present * g if present else 0.0
        for k, g in clipped.items():
            lengths = float(g.norm() * step.norm())
            cosine = float(g @ step) / lengths if lengths else 0.0
            self.reputation[k] = max(0.0, self.fade * self.reputation[k] + (1 - self.fade) * cosine)
        self.share_out()
        self.round += 1
        if self.round > self.warmup_rounds:
            limit = 1 / (3 * len(self.reputation)) if self.reputation else 0.0
            for k in [k for k, r in self.reputation.items() if r < limit]:
                del self.reputation[k]
                self.gone.add(k)
            self.share_out()
        return step

    def share_out(self) -> None:
        total = sum(self.reputation.values())
        self.reputation = {k: r / total if total else 1 / len(self.reputation) for k, r in self.reputation.items()}


@pytest.mark.parametrize("clip", [None, 3.0])
@pytest.mark.parametrize("fade", [0.0, 0.5, 0.95])
def test_rffl_equals_its_slow_form_with_clients_coming_and_going(fade: float, clip: float | None) -> None:
    chosen = {} if clip is None else {"clip": clip}
    gone: set[int] = set()
    for seed in range(4):
        fast = build_aggregator("rffl", fade=fade, warmup_rounds=2, **chosen)
        slow = SlowRFFL(fade, 2, clip)
        for number in range(12):
            draw = torch.Generator().manual_seed(31 * seed + number)
            ids = torch.randperm(9, generator=draw)[: 4 + number % 4].tolist()
            rows = random_rows(len(ids), 40, seed=99 * seed + number, shift=0.0) + 0.5 * random_rows(1, 40, seed=seed)
            for row, client in enumerate(ids):
                rows[row] *= -1.0 if client in (2, 5) else 1 + client
            step = fast(rows, context_of(ids, number))
            torch.testing.assert_close(step.double(), slow(rows, ids), rtol=1e-5, atol=1e-6)
            found = fast.diagnostics.per_client["reputation"].tolist()
            assert found == pytest.approx([slow.reputation.get(client, 0.0) for client in ids], rel=1e-9, abs=1e-12)
        assert fast.state_dict()["left"] == sorted(slow.gone)
        gone |= slow.gone
    assert gone


def test_rffl_lets_nobody_leave_before_the_warm_up_is_over_and_nobody_back() -> None:
    rffl = build_aggregator("rffl", fade=0.5, warmup_rounds=3)
    good = random_rows(1, 20)
    rows = torch.cat([good, good, good, -good])
    for number in range(3):
        rffl(rows, context_of([3, 1, 7, 5], number))
        assert rffl.state_dict()["left"] == []
        assert rffl.diagnostics.per_client["reputation"][3] < 1 / 12
    rffl(rows, context_of([3, 1, 7, 5], 3))
    assert rffl.state_dict()["left"] == [5]
    assert rffl.diagnostics.scalars["active_clients"] == 3
    honest = torch.cat([-good, good, good, good])
    step = rffl(honest, context_of([5, 1, 3, 7], 4))  # client 5, which has left, in another place
    torch.testing.assert_close(step, good[0], rtol=1e-6, atol=0)
    assert rffl.diagnostics.trust.tolist() == [0, 1, 1, 1]
    assert torch.equal(rffl(rows[3:], context_of([5], 5)), torch.zeros(20))
    assert rffl.state_dict()["reputations"].keys() == {1, 3, 7}


def test_rffl_clips_a_huge_update_and_keeps_the_rest_exact() -> None:
    rows = torch.cat([1e-3 * random_rows(4, 101), torch.full((1, 101), 1e20)])
    step = build_aggregator("rffl")(rows)
    torch.testing.assert_close(step.double(), SlowRFFL(0.95, 10, None)(rows, range(5)), rtol=1e-5, atol=1e-10)
    assert float(step.norm()) < 0.1


@pytest.mark.parametrize("count", [1, 2, 5])
def test_rffl_of_zero_rows_keeps_everybody(count: int) -> None:
    rffl = build_aggregator("rffl", fade=0.0, warmup_rounds=0)
    for number in range(3):
        assert torch.equal(rffl(torch.zeros(count, 7), context_of(range(count), number)), torch.zeros(7))
    assert rffl.state_dict()["reputations"] == dict.fromkeys(range(count), pytest.approx(1 / count))


@pytest.mark.parametrize("clip", [0.0, -1.0, "median", True])
def test_rffl_refuses_an_impossible_clip(clip: object) -> None:
    with pytest.raises(ConfigError, match="clip"):
        build_aggregator("rffl", clip=clip)
