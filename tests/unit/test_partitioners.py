"""Partitioners: what holds for every one of them, and what each of them promises."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from fedsim.data import Columns
from fedsim.data.partitioners import partitioners
from fedsim.data.partitioners.base import fill_up
from fedsim.data.split_file import keep_split, read_split, samples_by_class, write_split
from fedsim.errors import ConfigError

ALL = list(partitioners.describe())

NOT_RANDOM = ("file", "natural")
"""They share samples out as somebody else did."""

LABELS = (torch.arange(997) ** 2 % 1009 % 10)[torch.randperm(997, generator=torch.Generator().manual_seed(7))]

CALLS = {"shards": {"shards_per_client": 1}}
"""Settings under which a partitioner can give each client a single sample."""


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def one_each_and_the_rest_to_the_first(count: int, clients: int) -> list[str]:
    """A column of ``clients`` values, as unequal as can be."""
    return [str(sample if sample < clients else 0) for sample in range(count)]


def split(
    name: str,
    labels: Tensor,
    clients: int,
    folder: Path,
    seed: int = 0,
    columns: Columns | None = None,
    **settings: Any,
) -> list[Tensor]:
    """Shares by any partitioner; those that need a column or a file get one that fits."""
    if columns is None:
        columns = {"site": one_each_and_the_rest_to_the_first(len(labels), clients)} if clients <= len(labels) else {}
    if name == "file" and "path" not in settings:
        path = folder / "split.json"
        write_split(path, [torch.arange(len(labels))[client::clients] for client in range(clients)], labels)
        settings = {"path": str(path), **settings}
    partitioner = partitioners.build(name, **{**CALLS.get(name, {}), **settings})
    return list(partitioner.partition(labels, clients, seeded(seed), columns))


def as_lists(shares: Sequence[Tensor]) -> list[list[int]]:
    return [share.tolist() for share in shares]


def table(labels: Tensor, shares: Sequence[Tensor], classes: int = 10) -> Tensor:
    """Counts [K, C], sample by sample."""
    counts = torch.zeros(len(shares), classes, dtype=torch.int64)
    for client, share in enumerate(shares):
        for sample in share.tolist():
            counts[client, int(labels[sample])] += 1
    return counts


# What holds for every partitioner


@pytest.mark.parametrize("clients", [1, 2, 7, 300, 997])
@pytest.mark.parametrize("name", ALL)
def test_every_sample_goes_to_one_client_and_nobody_is_empty(name: str, clients: int, tmp_path: Path) -> None:
    shares = split(name, LABELS, clients, tmp_path)
    assert len(shares) == clients
    assert sorted(sample for share in as_lists(shares) for sample in share) == list(range(997))
    assert all(share == sorted(share) and len(share) > 0 for share in as_lists(shares))
    assert all(share.dtype == torch.int64 for share in shares)


@pytest.mark.parametrize("name", ALL)
def test_the_same_seed_gives_the_same_split_and_another_seed_another(name: str, tmp_path: Path) -> None:
    first, again, other = (as_lists(split(name, LABELS, 7, tmp_path, seed)) for seed in (3, 3, 4))
    assert first == again
    assert (first == other) == (name in NOT_RANDOM)


@pytest.mark.parametrize("name", ALL)
def test_splitting_draws_from_the_generator_alone_and_leaves_the_labels(name: str, tmp_path: Path) -> None:
    labels, torch_state, numpy_state = LABELS.clone(), torch.get_rng_state(), np.random.get_state()[1].copy()
    split(name, labels, 7, tmp_path)
    assert torch.equal(labels, LABELS)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)


@pytest.mark.parametrize("name", ALL)
def test_one_class_alone_can_be_split(name: str, tmp_path: Path) -> None:
    shares = split(name, torch.full((50,), 3), 7, tmp_path)
    assert sorted(sample for share in as_lists(shares) for sample in share) == list(range(50))
    assert min(map(len, shares)) >= 1


@pytest.mark.parametrize("clients", [7, 99])
@pytest.mark.parametrize("name", ALL)
def test_every_client_has_the_samples_that_are_asked_for(name: str, clients: int, tmp_path: Path) -> None:
    shares = split(name, LABELS, clients, tmp_path, min_samples=10)
    assert min(map(len, shares)) >= 10
    assert sorted(sample for share in as_lists(shares) for sample in share) == list(range(997))


@pytest.mark.parametrize("name", ALL)
def test_more_samples_than_there_are_cannot_be_asked_for(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="100 clients with 10 samples each cannot share 997") as caught:
        split(name, LABELS, 100, tmp_path, min_samples=10)
    assert caught.value.key == "clients.count"


@pytest.mark.parametrize("name", ALL)
def test_more_clients_than_samples_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="998 clients with 1 sample each cannot share 997") as caught:
        split(name, LABELS, 998, tmp_path)
    assert caught.value.key == "clients.count"


@pytest.mark.parametrize("name", [name for name in ALL if name not in ("natural", "shards")])
def test_clients_may_be_empty_where_that_is_allowed(name: str, tmp_path: Path) -> None:
    shares = split(name, LABELS[:5], 9, tmp_path, min_samples=0)
    assert sorted(sample for share in as_lists(shares) for sample in share) == list(range(5))
    assert sum(len(share) == 0 for share in shares) >= 4


@pytest.mark.parametrize("name", ALL)
def test_the_least_number_of_samples_is_not_negative(name: str) -> None:
    with pytest.raises(ConfigError, match="min_samples"):
        partitioners.build(name, min_samples=-1)


@pytest.mark.parametrize("least", [0, 1, 3, 5])
def test_filling_up_moves_only_what_is_missing(least: int) -> None:
    for seed in range(30):
        owners = torch.randint(8, (40,), generator=seeded(seed)) ** 2 // 8  # 0 .. 6, small ones more often
        before, after = owners.clone(), fill_up(owners, 8, least)
        assert torch.equal(owners, before)
        sizes = [before.tolist().count(client) for client in range(8)]
        new = [after.tolist().count(client) for client in range(8)]
        assert min(new) >= least
        assert int((before != after).sum()) == sum(max(0, least - size) for size in sizes)
        assert all(new[client] == least for client in range(8) if sizes[client] < least)


def test_filling_up_takes_from_the_largest() -> None:
    owners = torch.tensor([0] * 4 + [1] * 9 + [2] * 5)
    after = fill_up(owners, 4, 2)
    assert torch.bincount(after).tolist() == [4, 7, 5, 2]


# iid


@pytest.mark.parametrize("clients", [2, 7, 300])
def test_iid_clients_have_the_same_size_up_to_one_and_all_classes_alike(clients: int, tmp_path: Path) -> None:
    shares = split("iid", LABELS, clients, tmp_path)
    sizes = [len(share) for share in shares]
    assert max(sizes) - min(sizes) <= 1
    if clients == 7:
        assert stats.chi2_contingency(table(LABELS, shares).numpy()).pvalue > 1e-4


def test_iid_gives_each_sample_to_each_client_equally_often(tmp_path: Path) -> None:
    labels, times = torch.zeros(12, dtype=torch.int64), np.zeros((3, 12))
    for seed in range(600):
        for client, share in enumerate(split("iid", labels, 3, tmp_path, seed)):
            times[client, share.numpy()] += 1
    assert np.abs(times / 600 - 1 / 3).max() < 5 * np.sqrt(2 / 9 / 600)


# dirichlet


def class_shares(alpha: float, clients: int, folder: Path, draws: int) -> np.ndarray:
    """The share of a class that each client gets, over many draws [draws * 20, K]."""
    labels = torch.arange(20 * 400) % 20
    shares = []
    for seed in range(draws):
        found = split("dirichlet", labels, clients, folder, seed, alpha=alpha, min_samples=0)
        shares.append(np.stack([torch.bincount(labels[share], minlength=20).numpy() for share in found]).T / 400)
    return np.concatenate(shares)


@pytest.mark.parametrize(("alpha", "clients"), [(0.5, 5), (2.0, 4), (20.0, 3)])
def test_class_shares_have_the_mean_and_variance_of_a_dirichlet(alpha: float, clients: int, tmp_path: Path) -> None:
    shares = class_shares(alpha, clients, tmp_path, draws=100)
    mean = 1 / clients
    variance = mean * (1 - mean) / (clients * alpha + 1)
    assert np.allclose(shares.mean(0), mean, atol=5 * np.sqrt(variance / len(shares)))
    assert np.allclose(shares.var(0), variance, rtol=0.15)


def test_class_shares_follow_a_beta_distribution_and_classes_are_drawn_apart(tmp_path: Path) -> None:
    shares = class_shares(0.7, 4, tmp_path, draws=50)
    for client in range(4):
        assert stats.kstest(shares[:, client], stats.beta(0.7, 0.7 * 3).cdf).statistic < 2.2 / np.sqrt(1000)
    first, second = shares[::20, 0], shares[1::20, 0]
    assert abs(np.corrcoef(first, second)[0, 1]) < 5 / np.sqrt(50)


def test_a_small_alpha_skews_and_a_large_one_does_not(tmp_path: Path) -> None:
    labels = torch.arange(5000) % 10
    largest = {}
    for alpha in (0.05, 1.0, 10_000.0):
        counts = table(labels, split("dirichlet", labels, 5, tmp_path, alpha=alpha))
        largest[alpha] = float((counts.max(0).values / counts.sum(0)).mean())
        if alpha == 10_000.0:
            assert torch.allclose(counts.double(), torch.tensor(100.0, dtype=torch.float64), atol=10)
    assert largest[0.05] > 0.85 > largest[1.0] > 0.25 > largest[10_000.0]


@pytest.mark.parametrize("name", ["dirichlet", "quantity"])
def test_which_samples_of_a_class_a_client_gets_is_random(name: str, tmp_path: Path) -> None:
    """Not one piece after another in the order of the data."""
    shares = split(name, torch.zeros(4000, dtype=torch.int64), 4, tmp_path, alpha=5.0)
    for share in shares:
        assert abs(float(share.double().mean()) - 1999.5) < 5 * 4000 / np.sqrt(12 * len(share))


@pytest.mark.parametrize("name", ["dirichlet", "quantity"])
def test_equal_shares_are_equal_to_the_sample(name: str, tmp_path: Path) -> None:
    shares = split(name, torch.zeros(1000, dtype=torch.int64), 4, tmp_path, alpha=1e14)
    assert [len(share) for share in shares] == [250] * 4


@pytest.mark.parametrize("name", ["dirichlet", "quantity"])
@pytest.mark.parametrize("alpha", [1e-300, 1e-9, 1e9, 1e300, 1.7e308])
def test_an_extreme_alpha_still_shares_everything_out(name: str, alpha: float, tmp_path: Path) -> None:
    shares = split(name, LABELS, 7, tmp_path, alpha=alpha, min_samples=0)
    assert sorted(sample for share in as_lists(shares) for sample in share) == list(range(997))
    counts = table(LABELS, shares)
    if alpha < 1:
        assert int((counts > 0).sum()) == (10 if name == "dirichlet" else len(LABELS.unique()))
    elif name == "dirichlet":
        assert bool(((counts - counts.sum(0) / 7).abs() <= 1.5).all())
    else:
        assert max(map(len, shares)) - min(map(len, shares)) <= 2


@pytest.mark.parametrize("name", ["dirichlet", "quantity"])
@pytest.mark.parametrize("alpha", [0, -1, float("inf"), float("nan")])
def test_a_concentration_is_positive_and_finite(name: str, alpha: float) -> None:
    with pytest.raises(ConfigError, match="alpha"):
        partitioners.build(name, alpha=alpha)


# quantity


@pytest.mark.parametrize("alpha", [0.5, 3.0])
def test_sizes_follow_a_dirichlet(alpha: float, tmp_path: Path) -> None:
    labels = torch.zeros(2000, dtype=torch.int64)
    sizes = np.array(
        [[len(share) for share in split("quantity", labels, 5, tmp_path, seed, alpha=alpha)] for seed in range(500)]
    )
    variance = 0.2 * 0.8 / (5 * alpha + 1)
    assert np.allclose(sizes.mean(0) / 2000, 0.2, atol=5 * np.sqrt(variance / 500))
    assert np.allclose((sizes / 2000).var(0), variance, rtol=0.25)
    assert stats.kstest(sizes[:, 2] / 2000, stats.beta(alpha, 4 * alpha).cdf).statistic < 2.2 / np.sqrt(500)


def test_quantity_mixes_classes_as_in_the_whole(tmp_path: Path) -> None:
    labels = LABELS.repeat(5)
    statistics = []
    for seed in range(20):
        counts = table(labels, split("quantity", labels, 4, tmp_path, seed, alpha=5.0)).numpy()
        statistics.append(stats.chi2_contingency(counts[:, counts.sum(0) > 0]).pvalue)
    assert min(statistics) > 1e-4
    assert 0.2 < np.mean(statistics) < 0.8  # uniform where the classes are independent of the client


# shards


@pytest.mark.parametrize(("clients", "each"), [(10, 2), (5, 2), (20, 1), (4, 5)])
def test_shards_that_fit_the_classes_give_no_client_more_classes(clients: int, each: int, tmp_path: Path) -> None:
    labels = torch.randperm(1000, generator=seeded(1)) % 10
    shards = clients * each
    counts = table(labels, split("shards", labels, clients, tmp_path, shards_per_client=each))
    assert (counts.sum(1) == 1000 // clients).all()
    assert ((counts > 0).sum(1) <= each).all()
    assert (counts % (1000 // shards) == 0).all()


@pytest.mark.parametrize(("clients", "each"), [(7, 2), (30, 3), (300, 2), (1, 4), (997, 1)])
def test_shards_are_equal_up_to_rounding_and_cross_few_boundaries(clients: int, each: int, tmp_path: Path) -> None:
    shares = split("shards", LABELS, clients, tmp_path, shards_per_client=each)
    counts, least = table(LABELS, shares), 997 // (clients * each)
    assert all(each * least <= len(share) <= each * (least + 1) for share in shares)
    held = int((counts > 0).sum())
    assert held <= clients * each + 10 - 1  # each boundary between classes cuts one shard at most
    within_one_class = int(torch.bincount(LABELS).min()) >= least + 1
    assert not within_one_class or ((counts > 0).sum(1) <= 2 * each).all()


def test_clients_get_shards_at_random_and_a_shard_any_sample_of_its_class(tmp_path: Path) -> None:
    labels = torch.arange(100) % 2
    classes, sets = set(), set()
    for seed in range(40):
        shares = split("shards", labels, 2, tmp_path, seed, shards_per_client=2)
        classes.add(tuple(table(labels, shares, 2)[0].tolist()))
        sets.add(tuple(shares[0].tolist()))
    assert classes == {(50, 0), (25, 25), (0, 50)}
    assert len(sets) > 20


def test_more_shards_than_samples_are_refused(tmp_path: Path) -> None:
    split("shards", LABELS[:20], 4, tmp_path, shards_per_client=5)
    with pytest.raises(ConfigError, match="20 samples cannot be cut into 24 shards") as caught:
        split("shards", LABELS[:20], 4, tmp_path, shards_per_client=6)
    assert caught.value.key == "data.partition.shards_per_client"


# class_separated


TENS = torch.randperm(1000, generator=seeded(5)) % 10


@pytest.mark.parametrize("clients", [2, 3, 7, 10])
def test_without_spread_each_class_has_one_client_and_clients_as_many_classes(clients: int, tmp_path: Path) -> None:
    held = table(TENS, split("class_separated", TENS, clients, tmp_path, spread=0.0)) > 0
    assert (held.sum(0) == 1).all()
    assert set(held.sum(1).tolist()) <= {10 // clients, -(-10 // clients)}


@pytest.mark.parametrize("clients", [11, 25, 99])
def test_more_clients_than_classes_share_a_class_evenly(clients: int, tmp_path: Path) -> None:
    counts = table(TENS, split("class_separated", TENS, clients, tmp_path, spread=0.0))
    assert ((counts > 0).sum(1) == 1).all()
    assert set((counts > 0).sum(0).tolist()) <= {clients // 10, -(-clients // 10)}
    for label in range(10):
        sizes = counts[counts[:, label] > 0, label]
        assert int(sizes.max() - sizes.min()) <= 1


@pytest.mark.parametrize("clients", [3, 7, 25])
def test_with_all_spread_clients_hold_the_same_of_everything(clients: int, tmp_path: Path) -> None:
    counts = table(TENS, split("class_separated", TENS, clients, tmp_path, spread=1.0))
    assert (counts.max(0).values - counts.min(0).values <= 1).all()
    assert int(counts.sum(1).max() - counts.sum(1).min()) <= 1


@pytest.mark.parametrize("clients", [3, 7, 10, 25])
@pytest.mark.parametrize("spread", [0.1, 0.25, 0.6])
def test_the_spread_share_of_each_class_is_dealt_out_and_the_rest_stays_at_home(
    clients: int, spread: float, tmp_path: Path
) -> None:
    counts = table(TENS, split("class_separated", TENS, clients, tmp_path, spread=spread))
    dealt = 100 * spread / clients  # to each client of each class
    at_home = counts > dealt + 1
    assert at_home.any(0).all()
    assert at_home.any(1).all()
    assert int(at_home.sum()) == max(10, clients)
    assert ((counts - dealt).abs()[~at_home] < 1).all()
    for label in range(10):
        homes = int(at_home[:, label].sum())
        expected = dealt + 100 * (1 - spread) / homes
        assert ((counts[at_home[:, label], label] - expected).abs() < 2).all()


def test_rounding_favours_no_client_and_homes_and_samples_are_random(tmp_path: Path) -> None:
    labels = torch.arange(90) % 30  # of each class of three, one is spread
    shares = split("class_separated", labels, 10, tmp_path, spread=1 / 3)
    assert [len(share) for share in shares] == [9] * 10
    homes, members = set(), set()
    for seed in range(40):
        counts = table(TENS, split("class_separated", TENS, 10, tmp_path, seed, spread=0.2))
        homes.add(int(counts[0].argmax()))
        share = split("class_separated", torch.zeros(20, dtype=torch.int64), 2, tmp_path, seed, spread=0.5)[0]
        members.add(tuple(share.tolist()))
    assert len(homes) > 5
    assert len(members) > 30


@pytest.mark.parametrize("spread", [-0.1, 1.1])
def test_a_spread_is_a_share(spread: float) -> None:
    with pytest.raises(ConfigError, match="spread"):
        partitioners.build("class_separated", spread=spread)


# natural


def natural(values: Sequence[str], clients: int, **settings: Any) -> list[list[int]]:
    labels = torch.zeros(len(values), dtype=torch.int64)
    partitioner = partitioners.build("natural", **settings)
    return as_lists(partitioner.partition(labels, clients, seeded(0), {"site": values}))


def test_values_that_are_numbers_are_clients_by_size() -> None:
    assert natural(["10", "9", "10", "2", "100"], 4) == [[3], [1], [0, 2], [4]]


def test_values_that_are_words_are_clients_by_alphabet_after_the_numbers() -> None:
    assert natural(["b", "a", "10", "B", "9", "", "a"], 6) == [[4], [2], [5], [3], [1, 6], [0]]


def test_two_spellings_of_a_number_have_an_order_of_their_own() -> None:
    """Every rank splits by itself, and sets of text have another order in each process."""
    program = (
        "import sys, torch; from fedsim.data import partitioners\n"
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
    owners = partitioners.build("natural").owners_of_tests(train, test)
    assert owners is not None
    assert owners.tolist() == [2, -1, 1, -1, 0, 1]
    assert owners.dtype == torch.int64


@pytest.mark.parametrize("name", [name for name in ALL if name != "natural"])
def test_other_partitioners_give_tests_to_nobody(name: str) -> None:
    assert partitioners.build(name).owners_of_tests({"site": ["a"]}, {"site": ["a"]}) is None


# file


def written(folder: Path, content: object) -> str:
    path = folder / "mine.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(path)


def by_file(content: object, folder: Path, clients: int = 2, samples: int = 4, **settings: Any) -> list[list[int]]:
    labels = torch.arange(samples) % 2
    return as_lists(split("file", labels, clients, folder, path=written(folder, content), **settings))


@pytest.mark.parametrize("name", [name for name in ALL if name != "file"])
def test_a_split_that_is_written_is_the_split_that_is_read(name: str, tmp_path: Path) -> None:
    shares = split(name, LABELS, 7, tmp_path)
    path = tmp_path / "partition.json"
    write_split(path, shares, LABELS)
    assert as_lists(split("file", LABELS, 7, tmp_path, path=str(path))) == as_lists(shares)
    saved = json.loads(path.read_text())
    assert saved["samples"] == 997
    assert saved["clients"] == as_lists(shares)
    assert [entry.name for entry in tmp_path.iterdir() if entry.name.startswith(".")] == []


def test_a_split_by_hand_needs_only_its_clients(tmp_path: Path) -> None:
    assert by_file({"clients": [[3, 1], [2, 0]]}, tmp_path) == [[1, 3], [0, 2]]


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "not json",
        "[" * 100_000,
        "[[0, 1], [2, 3]]",
        '{"client": [[0, 1], [2, 3]]}',
        '{"clients": {"0": [0, 1], "1": [2, 3]}}',
        '{"clients": [[0, 1], 2, 3]}',
        '{"clients": [[0, 1], [2, 3.0]]}',
        '{"clients": [[0, true], [2, 3]]}',
        '{"clients": [[0, 1], [2, "3"]]}',
        '{"clients": [[0, 1], [2, null]]}',
        '{"clients": [[0, 1], [2, NaN]]}',
        "null",
    ],
)
def test_a_file_that_is_no_split_is_refused_before_and_in_the_run(content: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"mine\.json") as caught:
        by_file(content, tmp_path)
    assert caught.value.key == "data.partition.path"
    with pytest.raises(ConfigError, match=r"mine\.json"):
        partitioners.build("file", path=str(tmp_path / "mine.json")).check()


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "split.bin").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"split\.bin"):
        partitioners.build("file", path=str(tmp_path / "split.bin")).check()


@pytest.mark.parametrize(
    "clients",
    [
        [[0, 1], [2]],
        [[0, 1], [2, 2]],
        [[0, 1], [2, 3, 3]],
        [[0, 1], [2, 4]],
        [[0, 1], [2, 3, 4]],
        [[0, 1], [2, -1]],
        [[0, 1], [2, 3, -1]],
        [[0, 1], [2, 2**62]],
        [[0, 1], [2, 2**63]],
        [[0, 1], [2, 3, -(10**30)]],
    ],
)
def test_each_training_sample_is_named_once(clients: list[list[int]], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="each of the 4 training samples once") as caught:
        by_file({"clients": clients}, tmp_path)
    assert caught.value.key == "data.partition.path"


@pytest.mark.parametrize(
    ("clients", "wrong"),
    [([[0, 1], [2]], 3), ([[0, 1], [2, 3, 3]], 3), ([[0, 1], [2, 3, 4]], 4), ([[0, 1], [2, 3, -1]], -1)],
)
def test_the_message_names_a_sample_that_is_wrong(clients: list[list[int]], wrong: int, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"see sample {wrong}\)"):
        by_file({"clients": clients}, tmp_path)


@pytest.mark.parametrize("clients", [1, 3, 4])
def test_a_split_is_for_as_many_clients_as_it_names(clients: int, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"{clients}, but .*mine\.json splits among 2; set it to 2") as caught:
        by_file({"clients": [[0, 1], [2, 3]]}, tmp_path, clients)
    assert caught.value.key == "clients.count"


def test_a_split_of_other_labels_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "partition.json"
    labels = torch.tensor([0, 1, 0, 1])
    write_split(path, [torch.tensor([0, 1]), torch.tensor([2, 3])], labels)
    split("file", labels, 2, tmp_path, path=str(path))
    for other in ([1, 0, 0, 1], [0, 1, 0, 2]):
        with pytest.raises(ConfigError, match="other labels") as caught:
            split("file", torch.tensor(other), 2, tmp_path, path=str(path))
        assert caught.value.key == "data.partition.path"


def test_labels_are_told_apart_whatever_their_layout(tmp_path: Path) -> None:
    path = tmp_path / "partition.json"
    wide = torch.arange(8) % 3
    write_split(path, [torch.arange(4)], wide[::2])
    assert as_lists(split("file", wide[::2].contiguous(), 1, tmp_path, path=str(path))) == [[0, 1, 2, 3]]


def test_an_empty_client_in_a_file_must_be_allowed(tmp_path: Path) -> None:
    content = {"clients": [[0, 1, 2, 3], []]}
    with pytest.raises(ConfigError, match=r"clients \[1\] fewer than 1.*min_samples: 0") as caught:
        by_file(content, tmp_path)
    assert caught.value.key == "data.partition.path"
    assert by_file(content, tmp_path, min_samples=0) == [[0, 1, 2, 3], []]
    with pytest.raises(ConfigError, match=r"clients \[0\] fewer than 2"):
        by_file({"clients": [[0], [1, 2, 3]]}, tmp_path, min_samples=2)


def test_a_file_that_is_not_named_or_not_there_is_refused(tmp_path: Path) -> None:
    for partitioner, message in (
        (partitioners.build("file"), "missing"),
        (partitioners.build("file", path=str(tmp_path / "nothing.json")), r"nothing\.json"),
        (partitioners.build("file", path=str(tmp_path)), "cannot read"),
    ):
        for use in (partitioner.check, lambda chosen=partitioner: chosen.partition(LABELS, 7, seeded(0))):
            with pytest.raises(ConfigError, match=message) as caught:
                use()
            assert caught.value.key == "data.partition.path"


def test_a_path_may_begin_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    written(tmp_path, {"clients": [[0, 1], [2, 3]]})
    partitioner = partitioners.build("file", path="~/mine.json")
    partitioner.check()
    assert as_lists(partitioner.partition(torch.zeros(4, dtype=torch.int64), 2, seeded(0))) == [[0, 1], [2, 3]]


def test_the_home_of_nobody_is_refused() -> None:
    with pytest.raises(ConfigError, match="no-such-user"):
        partitioners.build("file", path="~no-such-user-here/mine.json").check()


def test_a_resumed_run_must_have_its_split(tmp_path: Path) -> None:
    shares = split("iid", LABELS, 7, tmp_path)
    keep_split(tmp_path, shares, LABELS)
    before = (tmp_path / "partition.json").read_bytes()
    keep_split(tmp_path, shares, LABELS)
    moved = [shares[0][1:], torch.cat([shares[0][:1], shares[1]]).sort().values, *shares[2:]]
    changed = LABELS.clone()
    changed[0] += 1
    for other, labels in ((moved, LABELS), (shares, changed), (shares[:-1], LABELS), (shares[::-1], LABELS)):
        with pytest.raises(ConfigError, match="not those that") as caught:
            keep_split(tmp_path, other, labels)
        assert caught.value.key == "--resume"
    assert (tmp_path / "partition.json").read_bytes() == before
    assert read_split(tmp_path / "partition.json")["clients"] == as_lists(shares)


def test_a_resumed_run_with_a_damaged_split_is_refused(tmp_path: Path) -> None:
    (tmp_path / "partition.json").write_text('{"clients": [[0, 1')
    with pytest.raises(ConfigError, match=r"partition\.json"):
        keep_split(tmp_path, [torch.arange(997)], LABELS)


def test_samples_by_class_add_up(tmp_path: Path) -> None:
    shares = split("dirichlet", LABELS, 7, tmp_path, alpha=0.1)
    counts = samples_by_class(LABELS, shares, 12)
    assert counts == table(LABELS, shares, 12).tolist()
    assert [sum(row) for row in counts] == [len(share) for share in shares]
    assert [sum(column) for column in zip(*counts, strict=True)] == torch.bincount(LABELS, minlength=12).tolist()
    assert samples_by_class(LABELS, [torch.tensor([], dtype=torch.int64)], 3) == [[0, 0, 0]]
