"""Every registered attack by the same properties; each one by its formula."""

import dataclasses
import io
import math
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any, ClassVar, Literal, get_args, get_origin

import byzfl
import pytest
import torch
from scipy.stats import norm
from torch import Tensor

from fedsim.aggregators import RoundContext, build_aggregator
from fedsim.attacks import Attack, AttackView, attacks, available_attacks, build_attack
from fedsim.attacks.alie import largest_hidden_z
from fedsim.errors import ConfigError
from fedsim.updates.matrix import BLOCK, UpdateMatrix
from fedsim.updates.sharded import ColumnShards
from support.references import random_rows

WIDER = 5 * BLOCK + 77
"""Six blocks: two for each of three shards."""
Case = tuple[str, dict[str, Any]]
MORE: list[Case] = [
    ("scaling", {"factor": -3.0}),
    ("mimic", {"warmup_rounds": 2}),
    ("poisonedfl", {"period": 2}),
    ("nonfinite", {"share": 0.5}),
]


def words_of(annotation: Any) -> list[str]:
    """The words that a setting may be, also beside other types."""
    if get_origin(annotation) is Literal:
        return [word for word in get_args(annotation) if isinstance(word, str)]
    return [word for inner in get_args(annotation) for word in words_of(inner)]


def variants(name: str) -> Iterator[Case]:
    """The attack as it is, and with each word that one of its settings may be."""
    yield name, {}
    for key, field in attacks.get(name).Settings.model_fields.items():
        yield from ((name, {key: word}) for word in words_of(field.annotation) if word != field.default)


CASES: list[Case] = [case for name in available_attacks() for case in variants(name)] + MORE


def case_id(value: object) -> str:
    return "-".join(f"{key}={setting}" for key, setting in value.items()) if isinstance(value, dict) else str(value)


def among(cases: Sequence[Case]) -> Any:
    return pytest.mark.parametrize(("name", "settings"), cases, ids=case_id)


every_attack = among(CASES)
blind_attacks = among([case for case in CASES if not build_attack(case[0], **case[1]).sees_honest])
seeing_attacks = among([case for case in CASES if build_attack(case[0], **case[1]).sees_honest])

SENDS_NONFINITE = {"nonfinite", "bit_flip"}
THROUGH_ROW_STATISTICS = {("fang", "krum")}
"""Cases of the attacks below that are no column maps."""
SAME_BITS = {"none", "scaling", "label_flip", "ipm", "alie", "fang", "gaussian", "sign_flip", "zero", "bit_flip"}
SAME_BITS |= {"nonfinite", "mimic", "poisonedfl"}
FIRST_OWN_ID = 100


def has_the_same_bits(name: str, settings: dict[str, Any]) -> bool:
    """Whether the rows are the same to the last bit however columns are cut."""
    return name in SAME_BITS and not any((name, value) in THROUGH_ROW_STATISTICS for value in settings.values())


def view_of(
    honest: Tensor | UpdateMatrix, own: Tensor | UpdateMatrix, *, round: int = 1, ids: Sequence[int] | None = None
) -> AttackView:
    """A view with everything that an attack may ask for; ``ids`` are those of the honest clients."""
    honest_ids = range(len(honest)) if ids is None else ids
    return AttackView(
        honest=honest,
        own=own,
        aggregator=build_aggregator("cwmed"),
        context=RoundContext(
            round=round,
            client_ids=(*honest_ids, *range(FIRST_OWN_ID, FIRST_OWN_ID + len(own))),
            last_step=random_rows(1, own.shape[1], seed=50 + round)[0].to(own.dtype),
            generator=torch.Generator().manual_seed(5 + round),
        ),
    )


def act(attack: Attack, view: AttackView) -> Tensor:
    """A round as the adversary plays it."""
    attack.observe(view.facts)
    return attack(view)


def assert_same_bits(one: Tensor, other: Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)


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


# What an attack is given ---------------------------------------------------------------------------


class Spy(Attack):
    """Keeps the view that it gets."""

    seen: AttackView

    def craft(self, view: AttackView) -> Tensor:
        self.seen = view
        return view.own.tensor() + 1


@pytest.mark.parametrize(("sees", "does", "tries"), list(product([False, True], repeat=3)))
def test_an_attack_finds_what_it_declares_to_need_and_no_more(sees: bool, does: bool, tries: bool) -> None:
    class Declared(Spy):
        sees_honest: ClassVar[bool] = sees
        trains: bool = does
        probes: ClassVar[bool] = tries

    honest, own, accomplices = random_rows(3, 7), random_rows(2, 7, seed=1), random_rows(1, 7, seed=2)
    full = view_of(honest, own)
    context = dataclasses.replace(
        full.facts, client_ids=(4, 2, 9, 7, 5, 6), dropped=3, sample_counts=(40, 20, 90, 70, 50, 60)
    )
    full = dataclasses.replace(full, accomplices=UpdateMatrix(accomplices), context=context)
    attack = Declared()
    rows = attack(full)
    seen = attack.seen
    assert torch.equal(seen.honest.tensor(), honest if sees else torch.empty(0, 7))
    assert torch.equal(seen.own.tensor(), own if does else torch.zeros(2, 7))
    assert torch.equal(rows, own + 1 if does else torch.ones(2, 7))
    assert seen.aggregator is (full.aggregator if tries else None)
    assert (seen.accomplices is not None) == tries
    assert seen.honest_ids == ((4, 2, 9) if sees else ())
    assert seen.own_ids == (7, 5)
    assert seen.facts.reported_counts("").tolist() == ([40, 20, 90, 70, 50, 60] if sees else [70, 50, 60])
    assert seen.facts.dropped == 3
    assert seen.facts.last_step is context.last_step
    assert seen.facts.generator is context.generator
    assert full.facts is context


def test_without_honest_rows_an_attack_that_sees_them_is_not_asked() -> None:
    class Seeing(Spy):
        trains = True

    own = random_rows(2, 7)
    attack = Seeing()
    assert torch.equal(attack(view_of(torch.empty(0, 7), own)), own)
    assert not hasattr(attack, "seen")


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
        rows = act(build_attack(name, **settings), view)
        assert rows.shape == (byzantine, columns)
        assert rows.dtype == dtype
        if name not in SENDS_NONFINITE:
            assert bool(rows.isfinite().all())


@every_attack
def test_equal_or_zero_honest_rows_give_finite_rows(name: str, settings: dict[str, Any]) -> None:
    for honest in (torch.zeros(3, 33), torch.full((3, 33), 0.7)):
        view = view_of(honest, torch.zeros(2, 33))
        rows = act(build_attack(name, **settings), view)
        assert name in SENDS_NONFINITE or bool(rows.isfinite().all())


@every_attack
def test_whole_and_three_shards_agree(name: str, settings: dict[str, Any]) -> None:
    honest, own = random_rows(5, WIDER), random_rows(2, WIDER, seed=1)
    whole = act(build_attack(name, **settings), view_of(honest, own))
    sharded = act(build_attack(name, **settings), view_of(cut(honest), cut(own)))
    if has_the_same_bits(name, settings):
        assert_same_bits(sharded, whole)
    else:
        torch.testing.assert_close(sharded, whole, rtol=1e-5, atol=1e-6, equal_nan=True)


@every_attack
def test_tensors_and_selected_rows_give_the_same_bits(name: str, settings: dict[str, Any]) -> None:
    rows = random_rows(7, 77)
    plain = act(build_attack(name, **settings), view_of(rows[[0, 2, 5]], rows[[6, 1]]))
    matrix = UpdateMatrix(rows)
    selected = act(build_attack(name, **settings), view_of(matrix.select([0, 2, 5]), matrix.select([6, 1])))
    assert_same_bits(selected, plain)


@every_attack
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_inputs_are_never_changed_and_the_rows_are_new_memory(
    name: str, settings: dict[str, Any], dtype: torch.dtype
) -> None:
    def views() -> Iterator[AttackView]:
        for round in range(1, 4):
            honest, own = (random_rows(count, 77, seed=round).to(dtype) for count in (5, 1))
            yield view_of(honest, own, round=round)

    attack, left_alone = build_attack(name, **settings), build_attack(name, **settings)
    seen = list(views())
    for view, same in zip(seen, views(), strict=True):
        rows = act(attack, view)
        assert_same_bits(rows, act(left_alone, same))
        rows.fill_(9.0)  # neither an input nor anything that the next round needs
    for used, fresh in zip(seen, views(), strict=True):
        assert torch.equal(used.honest.tensor(), fresh.honest.tensor())
        assert torch.equal(used.own.tensor(), fresh.own.tensor())
        assert torch.equal(used.facts.last_step, fresh.facts.last_step)


@seeing_attacks
def test_without_honest_rows_the_own_rows_are_sent(name: str, settings: dict[str, Any]) -> None:
    own = random_rows(2, 77)
    sent = act(build_attack(name, **settings), view_of(torch.empty(0, 77), own))
    assert torch.equal(sent, own)
    assert sent.data_ptr() != own.data_ptr()


@blind_attacks
def test_rows_of_an_attack_that_sees_no_honest_row_do_not_depend_on_them(name: str, settings: dict[str, Any]) -> None:
    own = random_rows(2, 77, seed=1)
    attack, other, alone = (build_attack(name, **settings) for _ in range(3))
    for round in (1, 2, 3):
        rows = act(attack, view_of(random_rows(5, 77), own, round=round))
        assert_same_bits(act(other, view_of(random_rows(3, 77, seed=9), own, round=round)), rows)
        assert_same_bits(act(alone, view_of(torch.empty(0, 77), own, round=round)), rows)


@every_attack
def test_the_order_of_the_honest_rows_does_not_matter(name: str, settings: dict[str, Any]) -> None:
    honest, own, order = random_rows(5, 77), random_rows(2, 77, seed=1), [3, 0, 4, 2, 1]
    one = act(build_attack(name, **settings), view_of(honest, own))
    other = act(build_attack(name, **settings), view_of(honest[order], own, ids=order))
    torch.testing.assert_close(other, one, rtol=1e-5, atol=1e-6, equal_nan=True)


@every_attack
@pytest.mark.parametrize("played", [0, 1, 2, 3])
def test_a_state_that_went_through_a_file_continues_with_the_same_bits(
    name: str, settings: dict[str, Any], played: int
) -> None:
    def view(round: int) -> AttackView:
        return view_of(random_rows(5, 77, seed=round), random_rows(2, 77, seed=10 + round), round=round)

    attack, resumed = build_attack(name, **settings), build_attack(name, **settings)
    for round in range(played):
        act(attack, view(round))
    file = io.BytesIO()
    torch.save(attack.state_dict(), file)
    file.seek(0)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    for round in range(played, played + 3):
        assert_same_bits(act(resumed, view(round)), act(attack, view(round)))
        assert resumed.diagnostics == attack.diagnostics


@every_attack
def test_only_attacks_that_train_depend_on_their_own_rows(name: str, settings: dict[str, Any]) -> None:
    honest = random_rows(5, 77)
    attack, other = build_attack(name, **settings), build_attack(name, **settings)
    first, second = (
        act(each, view_of(honest, random_rows(2, 77, seed=s))) for s, each in enumerate((attack, other), start=1)
    )
    if not attack.trains:
        assert torch.equal(first, second)
    elif not attack.sees_honest:  # what else would it send
        assert not torch.equal(first, second)


@every_attack
def test_buffers_are_attacked_by_an_attack_of_their_own(name: str, settings: dict[str, Any]) -> None:
    attack = build_attack(name, **settings)
    buffers = attack.for_buffers()
    assert buffers is not attack
    act(attack, view_of(random_rows(5, 77), random_rows(2, 77, seed=1)))
    rows = act(buffers, view_of(random_rows(5, 3), torch.zeros(2, 3)))
    assert rows.shape == (2, 3)


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
        ("gaussian", "std", -1.0),
        ("nonfinite", "share", 0.0),
        ("nonfinite", "share", 1.01),
        ("mimic", "warmup_rounds", 0),
        ("poisonedfl", "scale", 0.0),
        ("poisonedfl", "period", 0),
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


@pytest.mark.parametrize("name", [name for name in available_attacks() if not build_attack(name).poisons_data])
def test_other_attacks_leave_the_labels_alone(name: str) -> None:
    labels = torch.arange(10)
    assert torch.equal(build_attack(name).poison_labels(labels, 10, torch.Generator()), labels)


@pytest.mark.parametrize("shape", [(3,), (1, 4), (3, 4), ()])
def test_rows_of_a_wrong_shape_are_named(shape: tuple[int, ...]) -> None:
    class Wrong(Attack):
        name = "wrong"

        def craft(self, view: AttackView) -> Tensor:
            return torch.zeros(shape)

    with pytest.raises(ValueError, match=r"attack 'wrong' made rows of shape .* not \[2, 4\] or \[4\]"):
        Wrong()(AttackView(honest=torch.ones(3, 4), own=torch.ones(2, 4)))
