"""Every registered attack by the same properties; each one by its formula."""

import dataclasses
import io
import math
from typing import Any

import byzfl
import pytest
import torch
from references import random_rows
from scipy.stats import norm
from torch import Tensor

from fedsim.aggregators import RoundContext, build_aggregator
from fedsim.attacks import AttackView, available_attacks, build_attack
from fedsim.attacks.alie import largest_hidden_z
from fedsim.errors import ConfigError
from fedsim.update_matrix import BLOCK, ColumnShards, UpdateMatrix

WIDER = 5 * BLOCK + 77
"""Six blocks: two for each of three shards."""
Case = tuple[str, dict[str, Any]]
MORE: list[Case] = [("alie", {"z": "auto"}), ("scaling", {"factor": -3.0}), ("label_flip", {"mode": "random"})]
CASES: list[Case] = [(name, {}) for name in available_attacks()] + MORE


def case_id(value: object) -> str:
    return "-".join(f"{key}={setting}" for key, setting in value.items()) if isinstance(value, dict) else str(value)


every_attack = pytest.mark.parametrize(("name", "settings"), CASES, ids=case_id)
SAME_BITS = {"none", "scaling", "label_flip", "ipm", "alie", "fang"}
SENDS_OWN = {"none", "scaling", "label_flip"}


def view_of(honest: Tensor | UpdateMatrix, own: Tensor | UpdateMatrix) -> AttackView:
    """A view with everything that an attack may ask for."""
    count = len(honest) + len(own)
    return AttackView(
        honest=honest,
        own=own,
        aggregator=build_aggregator("cwmed"),
        context=RoundContext(client_ids=tuple(range(count)), generator=torch.Generator().manual_seed(5)),
    )


def cut(rows: Tensor) -> ColumnShards:
    shards = ColumnShards.cut(rows, 3)
    assert len(shards._shards) == 3
    return shards


# The view ------------------------------------------------------------------------------------------


def test_a_view_wraps_tensors_and_keeps_matrices() -> None:
    rows = random_rows(5, 7)
    matrix = UpdateMatrix(rows)
    view = AttackView(honest=rows[:3], own=matrix.select([3, 4]))
    assert (view.num_honest, view.num_byzantine) == (3, 2)
    assert torch.equal(view.honest.tensor(), rows[:3])
    assert torch.equal(view.own.tensor(), rows[3:])
    assert AttackView(honest=matrix, own=rows).honest is matrix
    assert view.aggregator is None
    assert view.context is None


def test_a_view_is_frozen_and_keyword_only() -> None:
    view = AttackView(honest=torch.ones(2, 3), own=torch.ones(1, 3))
    for name in ("honest", "own", "aggregator", "context"):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(view, name, None)
    with pytest.raises(TypeError, match="positional"):
        AttackView(torch.ones(2, 3), torch.ones(1, 3))


def test_a_view_rejects_rows_of_different_length() -> None:
    with pytest.raises(ValueError, match="differ in length"):
        AttackView(honest=torch.ones(2, 3), own=torch.ones(1, 4))


# Properties of every attack ------------------------------------------------------------------------


@every_attack
@pytest.mark.parametrize("honest", [1, 2, 5])
@pytest.mark.parametrize("byzantine", [1, 2, 4])
@pytest.mark.parametrize("columns", [1, 33])
def test_rows_have_the_shape_and_dtype_of_the_own_rows(
    name: str, settings: dict[str, Any], columns: int, byzantine: int, honest: int
) -> None:
    for dtype in (torch.float32, torch.float64):
        view = view_of(random_rows(honest, columns).to(dtype), random_rows(byzantine, columns, seed=1).to(dtype))
        rows = build_attack(name, **settings)(view)
        assert rows.shape == (byzantine, columns)
        assert rows.dtype == dtype
        if name in SAME_BITS:
            assert bool(rows.isfinite().all())


@every_attack
def test_whole_and_three_shards_agree(name: str, settings: dict[str, Any]) -> None:
    honest, own = random_rows(5, WIDER), random_rows(2, WIDER, seed=1)
    whole = build_attack(name, **settings)(view_of(honest, own))
    sharded = build_attack(name, **settings)(view_of(cut(honest), cut(own)))
    if name in SAME_BITS:
        assert torch.equal(whole, sharded)
    else:
        torch.testing.assert_close(whole, sharded, rtol=1e-5, atol=1e-6, equal_nan=True)


@every_attack
def test_tensors_and_selected_rows_give_the_same_bits(name: str, settings: dict[str, Any]) -> None:
    rows = random_rows(7, 77)
    plain = build_attack(name, **settings)(view_of(rows[[0, 2, 5]], rows[[6, 1]]))
    matrix = UpdateMatrix(rows)
    selected = build_attack(name, **settings)(view_of(matrix.select([0, 2, 5]), matrix.select([6, 1])))
    torch.testing.assert_close(plain, selected, rtol=0, atol=0, equal_nan=True)


@every_attack
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_inputs_are_never_changed_and_the_rows_are_new_memory(
    name: str, settings: dict[str, Any], dtype: torch.dtype
) -> None:
    honest, own = random_rows(5, 77).to(dtype), random_rows(1, 77, seed=1).to(dtype)
    before = honest.clone(), own.clone()
    rows = build_attack(name, **settings)(view_of(honest, own))
    rows.fill_(9.0)
    assert torch.equal(honest, before[0])
    assert torch.equal(own, before[1])


@every_attack
def test_without_honest_rows_the_own_rows_are_sent(name: str, settings: dict[str, Any]) -> None:
    own = random_rows(2, 77)
    sent = build_attack(name, **settings)(view_of(torch.empty(0, 77), own))
    assert torch.equal(sent, own)
    assert sent.data_ptr() != own.data_ptr()


@every_attack
def test_the_order_of_the_honest_rows_does_not_matter(name: str, settings: dict[str, Any]) -> None:
    honest, own = random_rows(5, 77), random_rows(2, 77, seed=1)
    one = build_attack(name, **settings)(view_of(honest, own))
    other = build_attack(name, **settings)(view_of(honest[[3, 0, 4, 2, 1]], own))
    torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6, equal_nan=True)


@every_attack
def test_a_state_that_went_through_a_file_continues_with_the_same_bits(name: str, settings: dict[str, Any]) -> None:
    attack = build_attack(name, **settings)
    attack(view_of(random_rows(5, 77), random_rows(2, 77, seed=10)))
    file = io.BytesIO()
    torch.save(attack.state_dict(), file)
    file.seek(0)
    resumed = build_attack(name, **settings)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    for seed in (1, 2):
        honest, own = random_rows(5, 77, seed=seed), random_rows(2, 77, seed=10 + seed)
        expected = attack(view_of(honest, own))
        torch.testing.assert_close(resumed(view_of(honest, own)), expected, rtol=0, atol=0, equal_nan=True)


@every_attack
def test_only_attacks_on_own_rows_depend_on_them(name: str, settings: dict[str, Any]) -> None:
    honest = random_rows(5, 77)
    first, second = (build_attack(name, **settings)(view_of(honest, random_rows(2, 77, seed=s))) for s in (1, 2))
    if name in SENDS_OWN:
        assert build_attack(name, **settings).trains
        assert not torch.equal(first, second)
    elif not build_attack(name, **settings).trains:
        assert torch.equal(first, second)


@pytest.mark.parametrize("name", available_attacks())
def test_an_unknown_setting_is_rejected_by_name(name: str) -> None:
    with pytest.raises(ConfigError, match="strenght") as caught:
        build_attack(name, strenght=0.5)
    assert caught.value.key == "strenght"


@pytest.mark.parametrize("name", available_attacks())
def test_every_attack_and_setting_has_a_line_of_help(name: str) -> None:
    description = available_attacks()[name]
    assert description.summary
    assert all(setting.help for setting in description.settings.values())


def test_an_unknown_attack_is_rejected_with_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match=r"'allie'; did you mean 'alie'"):
        build_attack("allie")


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("alie", "z", "automatic"),
        ("alie", "z", math.nan),
        ("ipm", "epsilon", math.inf),
        ("fang", "strength", -0.1),
        ("fang", "target", "everyone"),
        ("scaling", "factor", "10"),
        ("label_flip", "mode", "shuffle"),
    ],
)
def test_impossible_settings_are_named(name: str, key: str, value: object) -> None:
    with pytest.raises(ConfigError) as caught:
        build_attack(name, **{key: value})
    assert caught.value.key == key


# One by one ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("honest", [1, 2, 3, 40])
@pytest.mark.parametrize("z", [1.0, -0.5, 0.0, 1.5])
def test_alie_is_the_mean_minus_z_unbiased_deviations(z: float, honest: int) -> None:
    rows = random_rows(honest, 200)
    sent = build_attack("alie", z=z)(view_of(rows, torch.zeros(3, 200)))
    wide = rows.double()
    expected = wide.mean(0) - (z * wide.std(0, unbiased=True) if honest > 1 else 0)
    torch.testing.assert_close(sent.double(), expected.expand(3, -1), rtol=1e-6, atol=1e-7)


def test_alie_equals_byzfl_with_the_opposite_sign_of_z() -> None:
    rows = random_rows(6, 200)
    sent = build_attack("alie", z=1.5)(view_of(rows, torch.zeros(1, 200)))
    torch.testing.assert_close(sent[0], byzfl.ALittleIsEnough(-1.5)(rows), rtol=1e-5, atol=1e-6)


def test_alie_keeps_the_spread_of_rows_that_differ_in_the_seventh_digit() -> None:
    generator = torch.Generator().manual_seed(0)
    rows = 1000 + 1e-3 * torch.randn(5, 200, generator=generator)
    sent = build_attack("alie", z=1e4)(view_of(rows, torch.zeros(1, 200)))
    wide = rows.double()
    torch.testing.assert_close(sent[0].double(), wide.mean(0) - 1e4 * wide.std(0), rtol=1e-6, atol=1e-4)


def test_the_z_of_the_paper() -> None:
    assert round(largest_hidden_z(50, 24), 2) == 1.43


@pytest.mark.parametrize(("clients", "byzantine"), [(5, 2), (7, 3), (8, 3), (10, 4), (20, 9), (50, 24), (100, 10)])
def test_automatic_z_follows_the_formula(clients: int, byzantine: int) -> None:
    honest = clients - byzantine
    supporters = math.floor(clients / 2 + 1) - byzantine
    z = max(0.0, norm.ppf((honest - supporters) / honest))
    assert largest_hidden_z(clients, byzantine) == pytest.approx(z, abs=1e-9)
    rows = random_rows(honest, 50)
    attack = build_attack("alie", z="auto")
    sent = attack(view_of(rows, torch.zeros(byzantine, 50)))
    fixed = build_attack("alie", z=largest_hidden_z(clients, byzantine))(view_of(rows, torch.zeros(byzantine, 50)))
    assert torch.equal(sent, fixed)
    assert attack.diagnostics["z"] == pytest.approx(z, abs=1e-9)


@pytest.mark.parametrize(("clients", "byzantine"), [(2, 1), (3, 2), (10, 9), (10, 6), (1, 0), (3, 0), (101, 0)])
def test_automatic_z_is_finite_and_never_negative(clients: int, byzantine: int) -> None:
    assert 0 <= largest_hidden_z(clients, byzantine) <= norm.ppf(1 - 1e-6) + 1e-6


@pytest.mark.parametrize("epsilon", [0.1, 1.3, 10.0])
def test_ipm_points_against_the_honest_mean(epsilon: float) -> None:
    rows = random_rows(5, 200)
    sent = build_attack("ipm", epsilon=epsilon)(view_of(rows, torch.zeros(2, 200)))
    mean = rows.double().mean(0)
    assert float(sent[0].double() @ mean) < 0
    torch.testing.assert_close(sent.double(), (-epsilon * mean).expand(2, -1), rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(sent[0], byzfl.InnerProductManipulation(epsilon)(rows), rtol=1e-5, atol=1e-6)


def test_ipm_turns_the_mean_of_all_rows_around_only_if_it_is_strong_enough() -> None:
    honest = random_rows(6, 200, shift=2.0)
    mean = honest.mean(0)
    for epsilon, turned in ((1.9, False), (2.1, True)):  # 6 honest rows against 3
        rows = torch.cat([honest, build_attack("ipm", epsilon=epsilon)(view_of(honest, torch.zeros(3, 200)))])
        assert (float(build_aggregator("fedavg")(rows) @ mean) < 0) == turned


def test_fang_pushes_every_coordinate_against_its_sign() -> None:
    rows = random_rows(5, 200)
    rows[:, 7] = 0
    sent = build_attack("fang", strength=0.25)(view_of(rows, torch.zeros(2, 200)))
    mean = rows.double().mean(0)
    expected = mean - 0.25 * mean.sign()
    torch.testing.assert_close(sent.double(), expected.expand(2, -1), rtol=1e-6, atol=1e-6)
    assert sent[0, 7] == 0


@pytest.mark.parametrize("factor", [10.0, -2.0, 0.0, 1.0])
def test_scaling_multiplies_the_own_rows(factor: float) -> None:
    own = random_rows(2, 50)
    assert torch.equal(build_attack("scaling", factor=factor)(view_of(random_rows(3, 50), own)), factor * own)


@pytest.mark.parametrize("name", ["none", "label_flip"])
def test_clients_that_only_change_their_data_send_their_own_rows(name: str) -> None:
    own = random_rows(2, 50)
    assert torch.equal(build_attack(name)(view_of(random_rows(3, 50), own)), own)


# Labels --------------------------------------------------------------------------------------------


def flip(mode: str, labels: list[int], classes: int, seed: int = 0) -> list[int]:
    attack = build_attack("label_flip", mode=mode)
    before = torch.tensor(labels)
    given = before.clone()
    flipped = attack.poison_labels(given, classes, torch.Generator().manual_seed(seed))
    assert torch.equal(given, before)
    assert flipped.dtype == before.dtype
    return flipped.tolist()


def test_reverse_flips_to_the_mirrored_class() -> None:
    assert flip("reverse", [0, 1, 2, 3, 4, 4], 5) == [4, 3, 2, 1, 0, 0]
    assert flip("reverse", list(range(10)), 10) == list(range(9, -1, -1))


def test_pairs_swap_neighbours_and_leave_an_odd_last_class() -> None:
    assert flip("pairs", [0, 1, 2, 3, 3, 0], 4) == [1, 0, 3, 2, 2, 1]
    assert flip("pairs", [0, 1, 2, 3, 4, 4], 5) == [1, 0, 3, 2, 4, 4]
    assert flip("pairs", [0, 0], 1) == [0, 0]


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_random_never_keeps_a_label_and_reaches_every_other_class_evenly(classes: int) -> None:
    per_class = 3000
    labels = [label for label in range(classes) for _ in range(per_class)]
    flipped = torch.tensor(flip("random", labels, classes)).view(classes, per_class)
    for label, row in enumerate(flipped):
        counts = row.bincount(minlength=classes)
        assert counts.sum() == per_class
        assert len(counts) == classes
        assert counts[label] == 0
        expected = per_class / (classes - 1)
        others = torch.cat([counts[:label], counts[label + 1 :]])
        assert bool(((others - expected).abs() <= 6 * math.sqrt(expected)).all())


def test_random_is_fixed_by_the_generator() -> None:
    labels = [0, 1, 2, 3, 4] * 40
    assert flip("random", labels, 5, seed=1) == flip("random", labels, 5, seed=1)
    assert flip("random", labels, 5, seed=1) != flip("random", labels, 5, seed=2)


@pytest.mark.parametrize("name", [name for name in available_attacks() if name != "label_flip"])
def test_other_attacks_leave_the_labels_alone(name: str) -> None:
    labels = torch.arange(10)
    assert torch.equal(build_attack(name).poison_labels(labels, 10, torch.Generator()), labels)
