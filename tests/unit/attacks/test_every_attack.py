"""Every registered attack by the same properties."""

import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Literal, get_args, get_origin

import pytest
import torch
from torch import Tensor

from fedsim.aggregators import build_aggregator
from fedsim.attacks import Attack, AttackView, attacks, available_attacks, build_attack
from fedsim.errors import ConfigError
from fedsim.updates.matrix import UpdateMatrix
from support.aggregation import assert_same, case_id
from support.attack_views import full_view
from support.column_ranks import AttackOnRanks, shrink_blocks
from support.references import random_rows

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


def among(cases: Sequence[Case]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(("name", "settings"), cases, ids=case_id)


every_attack = among(CASES)
blind_attacks = among([case for case in CASES if not build_attack(case[0], **case[1]).sees_honest])
seeing_attacks = among([case for case in CASES if build_attack(case[0], **case[1]).sees_honest])
SENDS_NONFINITE = {"nonfinite", "bit_flip"}


def act(attack: Attack, view: AttackView) -> Tensor:
    """A round as the adversary plays it."""
    attack.observe(view.facts)
    return attack(view)


def assert_same_bits(one: Tensor, other: Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)


# Properties of every attack ------------------------------------------------------------------------


@every_attack
@pytest.mark.parametrize("honest", [1, 2, 5])
@pytest.mark.parametrize("byzantine", [1, 2, 4])
@pytest.mark.parametrize("columns", [1, 33])
def test_rows_have_the_shape_and_dtype_of_the_own_rows(
    name: str, settings: dict[str, Any], columns: int, byzantine: int, honest: int
) -> None:
    for dtype in (torch.float32, torch.float64):
        view = full_view(random_rows(honest, columns).to(dtype), random_rows(byzantine, columns, seed=1).to(dtype))
        rows = act(build_attack(name, **settings), view)
        assert rows.shape == (byzantine, columns)
        assert rows.dtype == dtype
        if name not in SENDS_NONFINITE:
            assert bool(rows.isfinite().all())


@every_attack
def test_equal_or_zero_honest_rows_give_finite_rows(name: str, settings: dict[str, Any]) -> None:
    for honest in (torch.zeros(3, 33), torch.full((3, 33), 0.7)):
        view = full_view(honest, torch.zeros(2, 33))
        rows = act(build_attack(name, **settings), view)
        assert name in SENDS_NONFINITE or bool(rows.isfinite().all())


# Against rules that are probed by inner products, by statistics of rows, and by order statistics, with a state.
PROBED: list[Case] = [("krum", {}), ("fedseca", {"sparsity": 0.5, "momentum": 0.5}), ("cwtm", {})]
COLUMN_CASES: list[tuple[str, dict[str, Any], Case]] = [
    *((name, settings, PROBED[2]) for name, settings in CASES),
    ("agr_tailored", {}, PROBED[0]),
    ("agr_tailored", {"search": "released"}, PROBED[0]),
    ("opt_alie", {}, PROBED[1]),
    ("worst_of", {"members": ["mimic", "poisonedfl", "gaussian"]}, PROBED[1]),
]


@pytest.mark.parametrize(("name", "settings", "rule"), COLUMN_CASES, ids=case_id)
@pytest.mark.parametrize(
    ("honest", "columns", "ranks", "rounds", "dtype"),
    [
        (5, 450, 5, 3, torch.float32),
        (3, 150, 2, 2, torch.float64),
        (4, 1, 2, 2, torch.float32),  # a single block, which lies on rank 0
        (1, 150, 3, 1, torch.float32),
    ],
    ids=case_id,
)
def test_rows_on_any_number_of_ranks_are_those_of_the_whole(
    honest: int,
    columns: int,
    ranks: int,
    rounds: int,
    dtype: torch.dtype,
    name: str,
    settings: dict[str, Any],
    rule: Case,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shrink_blocks(monkeypatch, 64)  # a multiple of what a processor computes at once, as the real width is
    whole = build_attack(name, **settings)
    distributed = AttackOnRanks(whole, ranks)
    for number in range(rounds):
        views = []
        for _ in range(2):  # an attack uses up the randomness of its view
            rows = random_rows(honest + 2, columns, seed=number).to(dtype) + 0.5
            rows[:, ::7] = rows[:, : columns // 3] = 0  # all that rank 0 has of several
            rows[honest - 1 :] = rows[honest - 1]
            view = full_view(rows[:honest], rows[honest:], round_index=number)
            view.facts.last_step[: columns // 3] = 0
            views.append(replace(view, aggregator=build_aggregator(rule[0], **rule[1])))
        assert_same_bits(distributed(views[0]), act(whole, views[1]))
        assert_same(distributed.diagnostics, whole.diagnostics)
        assert_same(distributed.state_dict(), whole.state_dict())


@pytest.mark.parametrize("name", available_attacks())
def test_every_attack_is_shardable_and_rows_of_its_own_inherit_no_promise(name: str) -> None:
    attack = build_attack(name)
    assert attack.shardable, "see CONTRIBUTING.md"
    assert attack.for_buffers().shardable

    class Own(type(attack)):  # type: ignore[misc]
        def craft(self, view: AttackView) -> Tensor:
            return view.honest.mean()

    class Renamed(type(attack)):  # type: ignore[misc]
        """No rows of its own."""

    class Promised(Own):
        shardable = True

        def craft(self, view: AttackView) -> Tensor:
            return view.honest.mean()

    assert [cls().shardable for cls in (Own, Renamed, Promised)] == [False, True, True]


@every_attack
def test_tensors_and_selected_rows_give_the_same_bits(name: str, settings: dict[str, Any]) -> None:
    rows = random_rows(7, 77)
    plain = act(build_attack(name, **settings), full_view(rows[[0, 2, 5]], rows[[6, 1]]))
    matrix = UpdateMatrix(rows)
    selected = act(build_attack(name, **settings), full_view(matrix.select([0, 2, 5]), matrix.select([6, 1])))
    assert_same_bits(selected, plain)


@every_attack
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_inputs_are_never_changed_and_the_rows_are_new_memory(
    name: str, settings: dict[str, Any], dtype: torch.dtype
) -> None:
    def views() -> Iterator[AttackView]:
        for round_index in range(1, 4):
            honest, own = (random_rows(count, 77, seed=round_index).to(dtype) for count in (5, 1))
            yield full_view(honest, own, round_index=round_index)

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
    sent = act(build_attack(name, **settings), full_view(torch.empty(0, 77), own))
    assert torch.equal(sent, own)
    assert sent.data_ptr() != own.data_ptr()


@blind_attacks
def test_rows_of_an_attack_that_sees_no_honest_row_do_not_depend_on_them(name: str, settings: dict[str, Any]) -> None:
    own = random_rows(2, 77, seed=1)
    attack, other, alone = (build_attack(name, **settings) for _ in range(3))
    for round_index in (1, 2, 3):
        rows = act(attack, full_view(random_rows(5, 77), own, round_index=round_index))
        assert_same_bits(act(other, full_view(random_rows(3, 77, seed=9), own, round_index=round_index)), rows)
        assert_same_bits(act(alone, full_view(torch.empty(0, 77), own, round_index=round_index)), rows)


@every_attack
def test_the_order_of_the_honest_rows_does_not_matter(name: str, settings: dict[str, Any]) -> None:
    honest, own, order = random_rows(5, 77), random_rows(2, 77, seed=1), [3, 0, 4, 2, 1]
    one = act(build_attack(name, **settings), full_view(honest, own))
    other = act(build_attack(name, **settings), full_view(honest[order], own, ids=order))
    torch.testing.assert_close(other, one, rtol=1e-5, atol=1e-6, equal_nan=True)


@every_attack
@pytest.mark.parametrize("played", [0, 1, 2, 3])
def test_a_state_that_went_through_a_file_continues_with_the_same_bits(
    name: str, settings: dict[str, Any], played: int
) -> None:
    def view(round_index: int) -> AttackView:
        return full_view(
            random_rows(5, 77, seed=round_index), random_rows(2, 77, seed=10 + round_index), round_index=round_index
        )

    attack, resumed = build_attack(name, **settings), build_attack(name, **settings)
    for round_index in range(played):
        act(attack, view(round_index))
    file = io.BytesIO()
    torch.save(attack.state_dict(), file)
    file.seek(0)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    for round_index in range(played, played + 3):
        assert_same_bits(act(resumed, view(round_index)), act(attack, view(round_index)))
        assert resumed.diagnostics == attack.diagnostics


@every_attack
def test_only_attacks_that_train_depend_on_their_own_rows(name: str, settings: dict[str, Any]) -> None:
    honest = random_rows(5, 77)
    attack, other = build_attack(name, **settings), build_attack(name, **settings)
    first, second = (
        act(each, full_view(honest, random_rows(2, 77, seed=s))) for s, each in enumerate((attack, other), start=1)
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
    act(attack, full_view(random_rows(5, 77), random_rows(2, 77, seed=1)))
    rows = act(buffers, full_view(random_rows(5, 3), torch.zeros(2, 3)))
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


def test_rows_made_of_whole_tensors_are_cut_to_the_columns_of_a_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gathering(Attack):
        def craft(self, view: AttackView) -> Tensor:
            return view.honest.tensor().sort(dim=1).values[:2] - view.own.tensor()

    class GatheringOne(Attack):
        def craft(self, view: AttackView) -> Tensor:
            return view.honest.tensor().mean(0)

    shrink_blocks(monkeypatch, 64)
    view = full_view(random_rows(3, 150), random_rows(2, 150, seed=1))
    for attack in (Gathering(), GatheringOne()):
        assert not attack.shardable
        assert torch.equal(AttackOnRanks(attack, 4)(view), attack(view))


# One by one ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["none", "label_flip"])
def test_clients_that_only_change_their_data_send_their_own_rows(name: str) -> None:
    own = random_rows(2, 50)
    assert torch.equal(build_attack(name)(full_view(random_rows(3, 50), own)), own)


# Labels --------------------------------------------------------------------------------------------


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

    with pytest.raises(ValueError, match=r"'wrong' .* craft returned rows of shape .* not \[2, 4\] or \[4\]"):
        Wrong()(AttackView(honest=UpdateMatrix(torch.ones(3, 4)), own=UpdateMatrix(torch.ones(2, 4))))
