"""Clients named by a column."""

import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from fedsim.data import Columns
from fedsim.data.partitioners import partitioners
from fedsim.errors import ConfigError, FedsimWarning
from support.partitions import LABELS, as_lists
from support.randomness import seeded


def natural(values: Sequence[str], clients: int, **settings: Any) -> list[list[int]]:
    labels = torch.zeros(len(values), dtype=torch.int64)
    partitioner = partitioners.build("natural", **settings)
    return as_lists(partitioner.partition(labels, clients, seeded(0), {"site": values}))


def test_values_that_are_numbers_are_clients_by_size() -> None:
    assert natural(["10", "9", "10", "2", "100"], 4) == [[3], [1], [0, 2], [4]]


def test_values_that_are_words_are_clients_by_alphabet_after_the_numbers() -> None:
    assert natural(["b", "a", "10", "C", "9", "a"], 5) == [[4], [2], [3], [1, 5], [0]]


def test_two_spellings_of_a_number_have_an_order_of_their_own() -> None:
    """Every rank splits by itself, and sets of text have another order in each process."""
    program = (
        "import sys, torch; from fedsim.data.partitioners import partitioners\n"
        "shares = partitioners.build('natural').partition(torch.zeros(6, dtype=torch.int64), 6, torch.Generator(),"
        " {'site': ['1', '01', '001', '0001', '00001', '000001']})\n"
        "sys.stdout.write(str([share.tolist() for share in shares]))"
    )
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", program],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONHASHSEED": str(rank)},
        )
        for rank in (1, 2)
    ]
    first, second = (rank.communicate(timeout=120)[0] for rank in ranks)
    assert first.startswith("[[")
    assert first == second


def test_the_only_column_is_taken_and_of_several_the_one_that_is_named() -> None:
    columns = {"site": ["a", "b", "a"], "device": ["x", "x", "y"]}
    labels = torch.zeros(3, dtype=torch.int64)
    named = partitioners.build("natural", column="device")
    assert as_lists(named.partition(labels, 2, seeded(0), columns)) == [[0, 1], [2]]
    only = partitioners.build("natural")
    assert as_lists(only.partition(labels, 2, seeded(0), {"site": columns["site"]})) == [[0, 2], [1]]


@pytest.mark.parametrize(
    ("column", "columns", "message"),
    [
        (None, {}, "missing.*there is none"),
        (None, {"site": ["a"] * 3, "device": ["b"] * 3}, "missing.*device, site"),
        ("sight", {"site": ["a"] * 3}, "no column 'sight'.*did you mean 'site'"),
        ("site", {}, "no column 'site'"),
    ],
)
def test_a_column_that_is_not_there_is_named(column: str | None, columns: Columns, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        partitioners.build("natural", column=column).partition(LABELS[:3], 1, seeded(0), columns)
    assert caught.value.key == "data.partition.column"


def test_values_that_follow_each_other_make_one_client() -> None:
    values = ["10", "2", "x", "2", "a", "1.0", "1"]
    assert natural(values, 3, group_size=2) == [[1, 3, 5, 6], [0, 4], [2]]
    assert natural(values, 1, group_size=9) == [list(range(7))]
    message = "2, but the data have 5 in 3 groups: 1, 2, 10, a, x; set it to 3"
    with pytest.raises(ConfigError, match=message):
        natural(values, 2, group_size=2)


@pytest.mark.filterwarnings("ignore:.*belong")
def test_test_samples_belong_to_the_group_of_their_value() -> None:
    train, test = {"site": ["b", "a", "d", "c", "e"]}, {"site": ["e", "a", "z", "d", "b"]}
    owners = partitioners.build("natural", group_size=2).owners_of_tests(train, test)
    assert owners is not None
    assert owners.tolist() == [2, 0, -1, 1, 0]


@pytest.mark.parametrize("clients", [1, 2, 4])
def test_there_are_as_many_clients_as_values(clients: int) -> None:
    with pytest.raises(ConfigError, match=rf"{clients}, but the data have 3: 2, 10, x; set it to 3") as caught:
        natural(["10", "2", "x", "2"], clients)
    assert caught.value.key == "clients.count"


def test_of_many_values_a_few_are_shown() -> None:
    with pytest.raises(ConfigError, match=r"have 30: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, \.\.\.; set it to 30"):
        natural([str(number) for number in reversed(range(30))], 7)


def test_tests_belong_to_the_clients_that_training_made() -> None:
    train, test = {"site": ["10", "9", "x", "9"]}, {"site": ["x", "7", "10", "y", "9", "10"]}
    with pytest.warns(FedsimWarning, match=r"2 test samples belong to no client: nobody trains on '7', 'y'"):
        owners = partitioners.build("natural").owners_of_tests(train, test)
    assert owners is not None
    assert owners.tolist() == [2, -1, 1, -1, 0, 1]
    assert owners.dtype == torch.int64


@pytest.mark.parametrize("empty", ["", "nan", "NaN", "None", " ", "NA", "null", "<NA>", "n/a"])
def test_no_value_is_no_client(empty: str) -> None:
    with pytest.raises(ConfigError, match=r"2 of 5 training samples have no value in the column 'site'") as caught:
        natural(["a", empty, "b", empty, "a"], 3)
    assert caught.value.key == "data.partition.column"


def test_spellings_of_a_value_are_one_client() -> None:
    assert natural(["7", "7.0", " 12", "7.00", "12 "], 2) == [[0, 1, 3], [2, 4]]
    assert natural(["7.5", "7", "7.0"], 2) == [[1, 2], [0]]
    owners = partitioners.build("natural").owners_of_tests({"site": ["2", "10.0"]}, {"site": ["10", "2.0", " 2"]})
    assert owners is not None
    assert owners.tolist() == [1, 0, 0]


def test_the_order_of_clients_with_one_spelling_each_is_as_it_was() -> None:
    assert natural(["10.0", "2.0", "1.5"], 3) == [[2], [0], [1]]


@pytest.mark.parametrize(("one", "other"), [("Lille", "lille"), ("07", "7"), ("St Anna", "St_Anna")])
def test_names_that_hardly_differ_are_pointed_out(one: str, other: str) -> None:
    with pytest.warns(FedsimWarning, match="are different clients"):
        assert len(natural([one, other, one], 2)) == 2
