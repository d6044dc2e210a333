"""Attacks that remember (mimic, PoisonedFL), and the crude ones that need nothing, by their formulas."""

import io
import math
import struct
from collections.abc import Sequence
from typing import Any

import byzfl
import numpy as np
import pytest
import torch
from scipy.stats import binom
from torch import Tensor

from fedsim.attacks import Attack, AttackView, build_attack
from fedsim.participation.attack_plan import AttackPlan, Campaign
from fedsim.server.adversary import Adversary, Target
from fedsim.updates.context import RoundContext
from fedsim.updates.matrix import BLOCK, UpdateMatrix
from fedsim.updates.sharded import ColumnShards
from support.references import Array, random_rows

ATTACKER = 90


def view_of(
    honest: Tensor | UpdateMatrix,
    own: Tensor | UpdateMatrix,
    *,
    ids: Sequence[int] | None = None,
    own_ids: Sequence[int] = (ATTACKER, ATTACKER + 1),
    round: int = 0,
    last_step: Tensor | None = None,
    seed: int = 5,
) -> AttackView:
    honest_ids = range(len(honest)) if ids is None else ids
    context = RoundContext(
        round=round,
        client_ids=(*honest_ids, *own_ids[: len(own)]),
        last_step=last_step,
        generator=torch.Generator().manual_seed(seed),
    )
    return AttackView(honest=honest, own=own, context=context)


def through_a_file(state: dict[str, Any]) -> Any:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


# Mimic ---------------------------------------------------------------------------------------------


class DirectMimic:
    """The definition, in float64 and row by row."""

    def __init__(self, start: Array, warmup: int) -> None:
        self.z, self.m, self.t, self.warmup = start / np.linalg.norm(start), np.zeros_like(start), 0, warmup
        self.target = -1

    def choose(self, rows: dict[int, Array]) -> int:
        learning = self.t < self.warmup
        if learning:
            self.m = (self.t * self.m + sum(rows.values()) / len(rows)) / (self.t + 1)
            q = sum(((g - self.m) @ self.z) * (g - self.m) for g in rows.values())
            length = np.linalg.norm(q)
            if length > 0:
                z = q / length if self.t == 0 else self.t * self.z + q / length
                self.z = z / np.linalg.norm(z)
        if learning or self.target not in rows:
            self.target = max(sorted(rows), key=lambda client: rows[client] @ self.z)
        self.t += 1
        return self.target


def start_from(monkeypatch: pytest.MonkeyPatch, start: Tensor) -> None:
    """Let the random z be this one."""
    monkeypatch.setattr("fedsim.attacks.mimic.draw_rows", lambda *_: start[None].clone())


def drifting_rows(ids: Sequence[int], round: int, columns: int = 300) -> Tensor:
    """Each client's own direction, with some noise of the round."""
    base, noise = random_rows(12, columns), random_rows(12, columns, seed=100 + round)
    return (base + 0.6 * noise)[list(ids)]


@pytest.mark.parametrize("warmup", [1, 3, 5])
@pytest.mark.parametrize("present", [12, 5, 2])
@pytest.mark.parametrize("seed", range(4))
def test_mimic_is_the_power_iteration(monkeypatch: pytest.MonkeyPatch, seed: int, present: int, warmup: int) -> None:
    start = random_rows(1, 300, seed=70 + seed)[0]
    start_from(monkeypatch, start)
    attack, direct = build_attack("mimic", warmup_rounds=warmup), DirectMimic(start.double().numpy(), warmup)
    generator = torch.Generator().manual_seed(seed)
    targets = []
    for round in range(9):
        ids = torch.randperm(12, generator=generator)[:present].tolist()
        rows = drifting_rows(ids, round)
        target = direct.choose(dict(zip(ids, rows.double().numpy(), strict=True)))
        sent = attack(view_of(rows, torch.zeros(2, 300), ids=ids, round=round))
        assert attack.diagnostics == {"target": float(target)}
        assert torch.equal(sent, rows[ids.index(target)].expand(2, -1))
        targets.append(target)
        state = attack.state_dict()
        np.testing.assert_allclose(state["direction"].double().numpy(), direct.z, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(state["mean"].double().numpy(), direct.m, rtol=1e-5, atol=1e-6)
    if present == 12:
        assert len(set(targets[warmup - 1 :])) == 1


def test_mimic_finds_the_direction_of_most_variance() -> None:
    attack = build_attack("mimic")
    for round in range(5):
        rows = random_rows(8, 50, seed=round)
        rows[:, 7] += torch.tensor([-30.0, -20, -10, 0, 10, 20, 30, 40])
        attack(view_of(rows, torch.zeros(1, 50), round=round))
    assert abs(float(attack.state_dict()["direction"][7])) > 0.98
    assert attack.diagnostics["target"] in (0.0, 7.0)


def warmed_up(rounds: int = 2, **settings: Any) -> Attack:
    """Two rounds of warm-up along the first coordinate, that end with the client of the largest value there."""
    attack = build_attack("mimic", warmup_rounds=rounds, **settings)
    attack.load_state_dict(
        {"mean": torch.zeros(3), "direction": torch.tensor([1.0, 0.0, 0.0]), "rounds": 1, "target": 4}
    )
    rows = torch.tensor([[-9.0, 0, 0], [8.0, 0, 0], [10.0, 1, 0]])
    attack(view_of(rows, torch.zeros(1, 3), ids=[4, 6, 2]))
    assert attack.diagnostics == {"target": 2.0}
    return attack


def test_mimic_stays_with_its_target_and_chooses_another_for_good_when_it_is_away() -> None:
    attack = warmed_up()
    direction = attack.state_dict()["direction"].clone()
    chosen = []
    for ids, first in [
        ([4, 6, 2], [50.0, 9, -1]),  # it stays, however far others are
        ([4, 6, 3], [1.0, 9, 2]),  # away
        ([4, 6, 2], [50.0, -9, 60]),  # back, too late
        ([4, 2], [5.0, -9]),
    ]:
        rows = torch.zeros(len(ids), 3)
        rows[:, 0] = torch.tensor(first)
        sent = attack(view_of(rows, torch.zeros(2, 3), ids=ids))
        chosen.append(ids[sent[0, 0].eq(rows[:, 0]).nonzero().item()])
        assert attack.diagnostics["target"] == chosen[-1]
    assert chosen == [2, 6, 6, 4]
    assert torch.equal(attack.state_dict()["direction"], direction)


def test_mimic_counts_the_rounds_in_which_it_acts() -> None:
    attack = build_attack("mimic", warmup_rounds=2)
    for round in (3, 7):
        attack.observe(view_of(random_rows(4, 9), torch.zeros(1, 9)).facts)
        attack(view_of(torch.empty(0, 9), torch.zeros(1, 9)))  # nobody to learn from
        attack(view_of(random_rows(4, 9, seed=round), torch.zeros(1, 9), round=round))
    learnt = attack.state_dict()
    assert learnt["rounds"] == 2
    attack(view_of(random_rows(4, 9, seed=8), torch.zeros(1, 9), round=8))
    assert attack.state_dict()["direction"] is learnt["direction"]


@pytest.mark.parametrize("ids", [(9, 4, 7), (4, 7, 9), (7, 9, 4)])
@pytest.mark.parametrize("rounds", [1, 3])
def test_mimic_takes_the_lowest_id_of_equal_rows(ids: tuple[int, ...], rounds: int) -> None:
    columns = 2 * BLOCK + 11
    attack = build_attack("mimic")
    for round in range(rounds):
        row = random_rows(1, columns, seed=round)
        far = ColumnShards.cut(torch.cat([row, row, row]), 3) if round % 2 else torch.cat([row, row, row])
        attack(view_of(far, torch.zeros(1, columns), ids=ids, round=round))
        assert attack.diagnostics == {"target": 4.0}


def test_mimic_takes_the_lowest_id_of_products_that_differ_by_rounding_only(monkeypatch: pytest.MonkeyPatch) -> None:
    columns = 2 * BLOCK
    start_from(monkeypatch, torch.ones(columns))
    values = random_rows(1, columns)[0]
    orders = [torch.randperm(columns, generator=torch.Generator().manual_seed(seed)) for seed in range(5)]
    rows = torch.stack([values[order] for order in orders])  # the same sum, added up in other orders
    attack = build_attack("mimic", warmup_rounds=1)
    attack.load_state_dict(
        {"mean": torch.zeros(columns), "direction": torch.ones(columns) / columns**0.5, "rounds": 1, "target": 50}
    )
    attack(view_of(rows, torch.zeros(1, columns), ids=[31, 12, 8, 44, 23]))
    assert attack.diagnostics == {"target": 8.0}


def test_mimic_of_a_single_honest_row_keeps_the_random_direction(monkeypatch: pytest.MonkeyPatch) -> None:
    start = random_rows(1, 33, seed=3)[0]
    start_from(monkeypatch, start)
    attack = build_attack("mimic")
    rows = random_rows(1, 33)
    sent = attack(view_of(rows, torch.zeros(2, 33), ids=[6]))
    assert torch.equal(sent, rows.expand(2, -1))
    torch.testing.assert_close(attack.state_dict()["direction"], start / start.norm())


def test_the_random_direction_depends_on_the_generator_alone() -> None:
    columns = BLOCK + 3

    def direction(honest: UpdateMatrix | Tensor, seed: int = 5) -> Tensor:
        attack = build_attack("mimic")
        attack(view_of(honest, torch.zeros(1, columns), seed=seed))
        return attack.state_dict()["direction"]

    row = random_rows(1, columns)
    whole = direction(row)
    assert torch.equal(direction(ColumnShards.cut(row, 2)), whole)
    assert torch.equal(direction(2 * row), whole)
    assert not torch.equal(direction(row, seed=6), whole)
    assert float(whole.double().norm()) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("scale", [1e-25, 1e25])
def test_mimic_does_not_depend_on_the_scale_of_the_rows(scale: float) -> None:
    one, other = build_attack("mimic"), build_attack("mimic")
    for round in range(3):
        rows = drifting_rows(range(6), round)
        one(view_of(rows, torch.zeros(1, 300)))
        other(view_of(rows * scale, torch.zeros(1, 300)))
        assert other.diagnostics == one.diagnostics
    torch.testing.assert_close(other.state_dict()["direction"], one.state_dict()["direction"], rtol=1e-4, atol=1e-6)


def test_mimic_sends_what_byzfl_sends_for_the_same_client() -> None:
    rows = random_rows(6, 40)
    attack = build_attack("mimic")
    sent = attack(view_of(rows, torch.zeros(1, 40)))
    assert torch.equal(sent[0], byzfl.Mimic(int(attack.diagnostics["target"]))(rows))


# Its buffers ---------------------------------------------------------------------------------------


def play(adversary: Adversary, round: int, absent: int | None = None) -> tuple[Tensor, Tensor, list[int]]:
    """A round of clients 0 to 6, the last two Byzantine: the rows and the buffers that come out."""
    ids = [client for client in range(7) if client != absent]
    rows, buffers = random_rows(7, 40, seed=round)[ids], random_rows(7, 4, seed=50 + round)[ids]
    context = RoundContext(round=round, client_ids=tuple(ids))
    adversary.replace_rows(Target(rows, None, context), Target(buffers, None, context))
    return rows, buffers, ids


def adversary_of(attack: Attack) -> Adversary:
    campaign = Campaign(name=attack.name, clients=(5, 6), trains=attack.trains)
    return Adversary(AttackPlan([campaign], num_clients=7, rounds=20, seed=0), [attack], seed=3)


def test_buffers_are_those_of_the_client_that_is_copied_also_after_a_resumption() -> None:
    attack = build_attack("mimic", warmup_rounds=3)
    adversary, targets = adversary_of(attack), []
    for round in range(12):
        if round in (2, 5):
            state = through_a_file(adversary.state_dict())
            assert state["buffer_attacks"] == [{}]
            attack = build_attack("mimic", warmup_rounds=3)
            adversary = adversary_of(attack)
            adversary.load_state_dict(state)
        rows, buffers, ids = play(adversary, round, absent=targets[-1] if round in (7, 9) else None)
        target = int(attack.diagnostics["target"])
        for client in (5, 6):
            assert torch.equal(rows[ids.index(client)], rows[ids.index(target)])
            assert torch.equal(buffers[ids.index(client)], buffers[ids.index(target)])
        targets.append(target)
    assert len(set(targets)) > 1
    assert len(set(targets[2:7])) == 1
    assert targets[6] != targets[7]


def test_without_buffers_of_its_target_mimic_sends_their_mean() -> None:
    attack = build_attack("mimic")
    buffers = attack.for_buffers()
    attack(view_of(random_rows(2, 9), torch.zeros(1, 9), ids=[3, 4]))
    values = random_rows(2, 4)
    sent = buffers(view_of(values, torch.zeros(1, 4), ids=[7, 8]))
    torch.testing.assert_close(sent[0], values.mean(0))


def test_poisonedfl_leaves_the_buffers_alone() -> None:
    buffers = build_attack("poisonedfl").for_buffers()
    assert not buffers(view_of(random_rows(3, 4), torch.zeros(2, 4), last_step=torch.ones(4))).any()
    assert buffers.state_dict() == {}


# PoisonedFL ----------------------------------------------------------------------------------------


class Run:
    """Rounds of PoisonedFL as the adversary plays them, with steps given from outside."""

    def __init__(self, columns: int, seed: int = 5, **settings: Any) -> None:
        self.attack, self.columns, self.round, self.seed = build_attack("poisonedfl", **settings), columns, 0, seed

    def go(self, step: Tensor | None, acts: bool = True) -> Tensor:
        """A round after one whose step was this; nothing [0, D] comes out if no client of the attack takes part."""
        own = torch.zeros(2, self.columns)
        view = view_of(
            random_rows(3, self.columns, seed=self.round),
            own,
            round=self.round,
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
    for round in range(1, 8):
        a = random_rows(1, 400, seed=round)[0]
        sent = run.go(a)
        assert torch.equal(sent[0], sent[1])
        if s is None:
            s = np.where(sent[0].numpy() >= 0, 1.0, -1.0)
            s[a.numpy() == 0] = 0  # not told by this row
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
    for round in range(2, 6):
        if round == 4:
            resumed = Run(columns, seed=77)
            resumed.attack.load_state_dict(through_a_file(run.attack.state_dict()))
            resumed.round, run = run.round, resumed
        row = run.go(random_rows(1, columns, seed=round)[0])[0]
        assert torch.equal(row.sign(), torch.where(row == 0, 0.0, first))
        assert row.ne(0).sum() > 0.8 * columns
    other = Run(columns, seed=6)
    other.go(None)
    agreeing = float((other.go(torch.ones(columns))[0].sign() == first).double().mean())
    assert agreeing == pytest.approx(0.5, abs=5 / math.sqrt(columns))


def test_poisonedfl_draws_the_same_signs_however_columns_are_cut() -> None:
    columns = 2 * BLOCK + 9
    rows = []
    for own in (torch.zeros(1, columns), ColumnShards.cut(torch.zeros(1, columns), 3)):
        attack = build_attack("poisonedfl")
        rows.append(attack(view_of(torch.empty(0, columns), own, last_step=torch.ones(columns))))
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
    scales = []
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


# Gaussian ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("std", [200.0, 0.5])
def test_gaussian_noise_has_its_mean_and_deviation_and_is_independent(std: float) -> None:
    columns = 3 * BLOCK
    rows = build_attack("gaussian", std=std)(view_of(random_rows(2, columns), torch.zeros(2, columns))).double() / std
    slack = 5 / math.sqrt(columns)
    assert bool((rows.mean(1).abs() < slack).all())
    assert bool(((rows.std(1) - 1).abs() < slack).all())
    assert float(rows.pow(4).mean()) == pytest.approx(3, abs=0.2)
    assert abs(float((rows[0] * rows[1]).mean())) < slack
    blocks = rows[0].view(3, BLOCK)
    assert abs(float((blocks[0] * blocks[1]).mean())) < 5 / math.sqrt(BLOCK)


@pytest.mark.parametrize(("name", "settings"), [("gaussian", {}), ("nonfinite", {"share": 0.2})])
def test_what_a_client_draws_depends_on_the_round_and_the_client_alone(name: str, settings: dict[str, Any]) -> None:
    columns = 2 * BLOCK + 77
    own = torch.zeros(3, columns)

    def rows(ids: Sequence[int], seed: int = 5, cut: bool = False) -> Tensor:
        zeros = own[: len(ids)]
        matrix = ColumnShards.cut(zeros, 3) if cut else UpdateMatrix(zeros)
        honest = torch.empty(0, columns)
        return build_attack(name, **settings)(view_of(honest, matrix, own_ids=ids, seed=seed)).nan_to_num(7.0)

    alone = rows([4])[0]
    assert torch.equal(rows([4], cut=True)[0], alone)
    assert torch.equal(rows([2, 9, 4])[2], alone)
    assert not torch.equal(rows([9])[0], alone)
    assert not torch.equal(rows([4], seed=6)[0], alone)


# Crude ones ----------------------------------------------------------------------------------------


def flipped_bits(value: float) -> int:
    """The float32 with bit 30 inverted, as its 32 bits."""
    return struct.unpack("<I", struct.pack("<f", value))[0] ^ 0x40000000


SINGLE = [
    0.0,
    -0.0,
    0.5,
    -0.5,
    1.0,
    -1.0,
    1.5,
    -1.99,
    2.0,
    -2.0,
    3.7,
    1e-3,
    -1e-20,
    1e-45,
    3.4e38,
    math.inf,
    -math.inf,
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_bit_flip_inverts_bit_30_of_single_floats(dtype: torch.dtype) -> None:
    own = torch.tensor([SINGLE, SINGLE[::-1]], dtype=dtype)
    sent = build_attack("bit_flip")(view_of(random_rows(2, len(SINGLE)).to(dtype), own))
    assert sent.dtype == dtype
    for row, values in zip(sent, (SINGLE, SINGLE[::-1]), strict=True):
        for got, value in zip(row.tolist(), values, strict=True):
            (expected,) = struct.unpack("<f", struct.pack("<I", flipped_bits(value)))
            assert math.isnan(got) if math.isnan(expected) else struct.pack("<d", got) == struct.pack("<d", expected)


@pytest.mark.parametrize(
    ("value", "sent"), [(0.25, 2.0**126), (-0.5, -(2.0**127)), (0.0, 2.0), (1.0, math.inf), (2.0**100, 2.0**-28)]
)
def test_bit_flip_does_what_its_description_says(value: float, sent: float) -> None:
    row = build_attack("bit_flip")(view_of(torch.ones(1, 1), torch.tensor([[value]])))
    assert row.item() == sent


def test_bit_flip_makes_magnitudes_from_one_to_two_infinite_or_no_number_and_no_others() -> None:
    own = random_rows(2, 5000)
    sent = build_attack("bit_flip")(view_of(random_rows(2, 5000), own))
    assert torch.equal(~sent.isfinite(), (own.abs() >= 1) & (own.abs() < 2))


@pytest.mark.parametrize("share", [0.01, 0.3, 1.0])
def test_nonfinite_spoils_its_share_and_leaves_the_rest(share: float) -> None:
    columns = 2 * BLOCK
    own = random_rows(2, columns)
    sent = build_attack("nonfinite", share=share)(view_of(random_rows(2, columns), own))
    bad = ~sent.isfinite()
    assert torch.equal(sent[~bad], own[~bad])
    for row, where in zip(sent, bad, strict=True):
        slack = 5 * math.sqrt(columns * share * (1 - share))
        assert abs(int(where.sum()) - columns * share) <= slack
        kinds = [int(kind.sum()) for kind in (row.isnan(), row == math.inf, row == -math.inf)]
        assert sum(kinds) == int(where.sum())
        assert all(abs(kind - sum(kinds) / 3) <= 5 * math.sqrt(sum(kinds) * 2 / 9) for kind in kinds)
    if share < 1:
        assert not torch.equal(bad[0], bad[1])


def test_nonfinite_spoils_every_row_somewhere() -> None:
    own = random_rows(40, 20)
    own_ids = range(ATTACKER, ATTACKER + 40)
    sent = build_attack("nonfinite", share=0.01)(view_of(random_rows(2, 20), own, own_ids=own_ids))
    assert bool((~sent.isfinite()).any(1).all())
    assert float((~sent.isfinite()).double().mean()) < 0.08


def test_zero_sends_zeros() -> None:
    sent = build_attack("zero")(view_of(random_rows(3, 20), random_rows(2, 20)))
    assert torch.equal(sent, torch.zeros(2, 20))


def test_sign_flip_sends_the_opposite_of_the_own_rows_and_equals_byzfl_on_one_row() -> None:
    own = random_rows(2, 50)
    sent = build_attack("sign_flip")(view_of(random_rows(3, 50), own))
    assert torch.equal(sent, -own)
    for row, mine in zip(sent, own, strict=True):
        torch.testing.assert_close(row, byzfl.SignFlipping()(mine[None]))
