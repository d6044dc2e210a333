"""PoisonedFL by its formula, over many rounds."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import binom
from torch import Tensor

from fedsim.attacks import build_attack
from fedsim.updates.matrix import BLOCK
from support.attack_views import round_view
from support.column_ranks import AttackOnRanks
from support.references import Array, random_rows
from support.states import through_a_file

# Its buffers ---------------------------------------------------------------------------------------


def test_poisonedfl_leaves_the_buffers_alone() -> None:
    buffers = build_attack("poisonedfl").for_buffers()
    assert not buffers(round_view(random_rows(3, 4), torch.zeros(2, 4), last_step=torch.ones(4))).any()
    assert buffers.state_dict() == {}


# PoisonedFL ----------------------------------------------------------------------------------------


class Run:
    """Rounds of PoisonedFL as the adversary plays them, with steps given from outside."""

    def __init__(self, columns: int, seed: int = 5, **settings: Any) -> None:
        self.attack, self.columns, self.round, self.seed = build_attack("poisonedfl", **settings), columns, 0, seed

    def go(self, step: Tensor | None, acts: bool = True) -> Tensor:
        """A round after one whose step was this; nothing [0, D] comes out if no client of the attack takes part."""
        own = torch.zeros(2, self.columns)
        view = round_view(
            random_rows(3, self.columns, seed=self.round),
            own,
            round_index=self.round,
            last_step=step,
            seed=self.round + self.seed,
        )
        self.round += 1
        self.attack.observe(view.facts)
        return self.attack(view) if acts else own[:0]

    @property
    def c(self) -> float:
        """After the next observation."""
        return self.attack.state_dict()["scale"]


def literal_row(c: float, a: Array, m: Array | None, s: Array) -> Array:
    v = np.abs(a) if m is None else np.abs(a - m * np.linalg.norm(a) / np.linalg.norm(m))
    return c * np.linalg.norm(a) * (v / np.linalg.norm(v)) * s


def test_poisonedfl_is_the_formula() -> None:
    run, m, s = Run(400, scale=3.0), None, None
    assert not run.go(None).any()
    for round_index in range(1, 8):
        a = random_rows(1, 400, seed=round_index)[0]
        sent = run.go(a)
        assert torch.equal(sent[0], sent[1])
        if s is None:
            s = np.where(sent[0].numpy() >= 0, 1.0, -1.0)
            s[a.numpy() == 0] = 0  # not known from this row
        expected = literal_row(3.0, a.double().numpy(), m, s)
        known = s != 0
        np.testing.assert_allclose(sent[0].double().numpy()[known], expected[known], rtol=2e-5, atol=1e-5)
        assert float(sent[0].double().norm()) == pytest.approx(3 * float(a.double().norm()), rel=1e-6)
        m = sent[0].double().numpy()
        assert run.attack.diagnostics == {"c": 3.0}


def test_poisonedfl_keeps_its_signs_for_the_whole_run() -> None:
    columns = BLOCK + 500
    run = Run(columns)
    run.go(None)
    first = run.go(torch.ones(columns))[0].sign()
    assert set(first.tolist()) == {-1.0, 1.0}
    assert abs(float(first.sum())) < 5 * math.sqrt(columns)
    for round_index in range(2, 6):
        if round_index == 4:
            resumed = Run(columns, seed=77)
            resumed.attack.load_state_dict(through_a_file(run.attack.state_dict()))
            resumed.round, run = run.round, resumed
        row = run.go(random_rows(1, columns, seed=round_index)[0])[0]
        assert torch.equal(row.sign(), torch.where(row == 0, 0.0, first))
        assert row.ne(0).sum() > 0.8 * columns
    other = Run(columns, seed=6)
    other.go(None)
    agreeing = float((other.go(torch.ones(columns))[0].sign() == first).double().mean())
    assert agreeing == pytest.approx(0.5, abs=5 / math.sqrt(columns))


def test_poisonedfl_draws_the_same_signs_however_columns_are_cut() -> None:
    columns = 2 * BLOCK + 9
    rows = []
    for ranks in (1, 3):
        view = round_view(torch.empty(0, columns), torch.zeros(1, columns), last_step=torch.ones(columns))
        rows.append(AttackOnRanks(build_attack("poisonedfl"), ranks)(view))
    assert torch.equal(*rows)


def test_poisonedfl_sends_nothing_where_the_formula_is_undefined() -> None:
    run = Run(50)
    run.go(None)
    assert not run.go(torch.zeros(50)).any()
    a = random_rows(1, 50)[0] + 3
    m = run.go(a)[0]
    assert m.any()
    assert not run.go(torch.zeros(50)).any()
    assert not run.go(2 * m).any()  # v = 0
    b = random_rows(1, 50, seed=1)[0]
    expected = literal_row(8.0, b.double().numpy(), m.double().numpy(), m.sign().double().numpy())
    np.testing.assert_allclose(run.go(b)[0].double().numpy(), expected, rtol=2e-5, atol=1e-5)


COLUMNS = 1001
NEEDED = int(binom.ppf(0.99, COLUMNS, 0.5))


def steps_that_agree(s: Tensor, agreeing: int) -> list[Tensor]:
    """Three steps whose sum has the sign s in so many coordinates (and is zero in one); the last has it in none."""
    total = torch.where(torch.arange(len(s)) < agreeing, s, -s)
    total[-1] = 0
    return [total + 2 * s, -s, -s]


def signs_of(run: Run) -> Tensor:
    """Rounds 0 and 1 of a run, in which s shows."""
    run.go(None)
    return run.go(torch.ones(run.columns))[0].sign()


@pytest.mark.parametrize(
    ("agreeing", "scale", "expected"),
    [
        (NEEDED - 1, 8.0, 5.6),
        (NEEDED, 8.0, 8.0),
        (0, 8.0, 5.6),
        (COLUMNS - 1, 8.0, 8.0),
        (NEEDED - 1, 0.72, 0.504),
        (NEEDED - 1, 0.714, 0.714),  # 0.7 of it is 0.4998
    ],
)
@pytest.mark.parametrize("acts", [True, False])
def test_c_shrinks_where_the_model_does_not_follow(acts: bool, agreeing: int, scale: float, expected: float) -> None:
    run = Run(COLUMNS, period=4, scale=scale)
    s = signs_of(run)
    first, second, third = steps_that_agree(s, agreeing)
    for step in (first - 1, second):  # the step of ones that showed s belongs to the period, and is taken back
        run.go(step, acts)
        assert run.c == scale
    assert "agreement" not in run.attack.diagnostics
    sent = run.go(third)
    assert run.c == pytest.approx(expected)
    assert run.attack.diagnostics == {"c": run.c, "agreement": agreeing / COLUMNS}
    assert float(sent[0].norm()) == pytest.approx(expected * float(third.norm()), rel=1e-5)


def test_every_period_is_judged_by_itself() -> None:
    run = Run(COLUMNS, period=3)
    s = signs_of(run)
    scales: list[float] = []
    for follows in (True, True, True, True, False, False, False, True, True, True, False, False, False):
        run.go(s if follows else -s, acts=len(scales) % 2 == 0)
        scales.append(round(run.c, 6))
    # The first period has the step that showed s and two of these, the later ones three: s s, s s -s, -s -s s, ...
    assert scales == [8.0] * 7 + [5.6] * 6


def test_no_check_before_the_attack_has_begun() -> None:
    run = Run(COLUMNS, period=2)
    for _ in range(7):
        run.go(torch.ones(COLUMNS), acts=False)
    assert run.c == 8.0
    for _ in range(2):
        run.go(torch.ones(COLUMNS))
        assert run.c == 8.0
    run.go(torch.ones(COLUMNS), acts=False)
    assert run.c == pytest.approx(5.6)


def test_a_state_within_a_period_continues_it() -> None:
    run = Run(COLUMNS, period=4)
    s = signs_of(run)
    run.go(-s)
    resumed = Run(COLUMNS, period=4)
    resumed.attack.load_state_dict(through_a_file(run.attack.state_dict()))
    resumed.round = run.round
    for _ in range(2):
        assert torch.equal(resumed.go(-s), run.go(-s))
        assert resumed.attack.diagnostics == run.attack.diagnostics
    assert run.c == pytest.approx(5.6)


def test_neither_a_state_that_was_taken_nor_a_step_changes_with_what_follows() -> None:
    run = Run(30, period=9)
    step = torch.ones(30)
    run.go(step)
    step.zero_()  # it is the server's
    state = run.attack.state_dict()
    assert torch.equal(state["moved"], torch.ones(30))
    before = through_a_file(state)
    run.go(torch.full((30,), 3.0))
    assert all(torch.equal(state[key], before[key]) for key in ("moved", "last_row"))
