"""Ranks beyond the cores: one notice with the command that is faster."""

import logging
import re
import shlex
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from fedsim.build import run
from fedsim.build.components import build_components
from fedsim.build.fewer_ranks import fewer_ranks
from fedsim.cli import parse_command_line
from fedsim.comm import RankPlace
from fedsim.run_directory.provenance import Provenance
from support.configuration import configured


def of_host(ranks: int, hosts: int = 1) -> RankPlace:
    return RankPlace(0, ranks * hosts, 0, ranks)


@pytest.mark.parametrize(
    ("ranks", "cores", "clients", "faster"),
    [
        (8, 2, 8, "torchrun --nproc_per_node=2 fedsim/main.py"),
        (8, 7, 3, "torchrun --nproc_per_node=3 fedsim/main.py"),
        (8, 1, 8, "python fedsim/main.py"),
        (3, 2, 1, "python fedsim/main.py"),
    ],
)
def test_there_are_as_many_ranks_as_cores_and_clients(ranks: int, cores: int, clients: int, faster: str) -> None:
    notice = fewer_ranks(of_host(ranks), cores, clients, ["fedsim/main.py"])
    assert notice is not None
    assert notice.endswith(f": {faster}")


@pytest.mark.parametrize(("ranks", "cores"), [(1, 1), (8, 8), (8, 64)])
def test_nothing_is_said_where_there_is_a_core_for_each(ranks: int, cores: int) -> None:
    assert fewer_ranks(of_host(ranks), cores, 1, ["fedsim/main.py"]) is None


def test_the_command_is_the_one_that_was_typed() -> None:
    arguments = ["--config", "my file.yaml", "attack={name: fang, num_byzantine: 3}", "rounds=5"]
    notice = fewer_ranks(of_host(4), 2, 8, ["fedsim/main.py", *arguments])
    assert notice is not None
    words = shlex.split(notice.partition(": ")[2])
    assert words[:3] == ["torchrun", "--nproc_per_node=2", "fedsim/main.py"]
    assert parse_command_line(words[3:]) == parse_command_line(arguments)
    assert fewer_ranks(of_host(4), 2, 8, ["/a/fedsim/__main__.py"]) == (
        "4 ranks share 2 cores; 2 ranks give the same bits sooner: torchrun --nproc_per_node=2 -m fedsim"
    )


def test_of_several_hosts_only_the_number_is_known() -> None:
    notice = fewer_ranks(of_host(4, hosts=2), 2, 8, ["fedsim/main.py"])
    assert notice == "4 ranks share 2 cores of a host; with --nproc_per_node=2 there, the same bits come sooner"


@pytest.mark.parametrize(("device", "notices"), [("cpu", 1), ("cuda", 0)])
def test_a_run_on_gpus_says_nothing(
    device: str, notices: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Their ranks wait for GPUs, not for cores."""
    comm: Any = SimpleNamespace(device=torch.device(device))
    monkeypatch.setattr(run, "count_cores", lambda: 1)
    caplog.set_level(logging.INFO)
    components = build_components(configured())
    run._say_if_fewer_ranks_are_faster(components, comm, of_host(2), Provenance(["fedsim/main.py"]))
    assert len(re.findall("the same bits sooner", caplog.text)) == notices
