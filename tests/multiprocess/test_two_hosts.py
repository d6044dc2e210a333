"""Two hosts: network namespaces of this machine, each with a name, an address and process numbers of its own."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from fedsim.main import main
from support.launch import ROOT, clean_environment, skip_or_fail
from support.runs import RUN, final_state, nothing_is_left, records

HOSTS = {"fedsim-a": "10.77.0.1", "fedsim-b": "10.77.0.2"}
ROUNDS = 6
CLIENTS = [*RUN, "clients.count=5", f"rounds={ROUNDS}"]


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


def why_not() -> str:
    if os.geteuid() != 0 or shutil.which("ip") is None or shutil.which("unshare") is None:
        return "two hosts need root, ip and unshare (Debian: iproute2, util-linux)"
    try:
        ip("netns", "add", "fedsim-try")
    except subprocess.CalledProcessError as error:
        return f"no network namespaces: {error.stderr.decode()}"
    ip("netns", "delete", "fedsim-try")
    return ""


@pytest.fixture(scope="module")
def hosts() -> Iterator[None]:
    """The hosts, joined by a cable, each of which knows the other's name."""
    skip_or_fail(why_not())
    remove_hosts()
    for name in HOSTS:
        ip("netns", "add", name)
        Path(f"/etc/netns/{name}").mkdir(parents=True)
        lines = ["127.0.0.1 localhost", *(f"{address} {host}" for host, address in HOSTS.items())]
        Path(f"/etc/netns/{name}/hosts").write_text("\n".join(lines) + "\n")
    ip("link", "add", "cable-a", "netns", "fedsim-a", "type", "veth", "peer", "cable-b", "netns", "fedsim-b")
    for name, address in HOSTS.items():
        ip("-n", name, "address", "add", f"{address}/24", "dev", f"cable-{name[-1]}")
        ip("-n", name, "link", "set", f"cable-{name[-1]}", "up")
        ip("-n", name, "link", "set", "lo", "up")
    yield
    remove_hosts()


def remove_hosts() -> None:
    for name in HOSTS:
        subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)
        shutil.rmtree(f"/etc/netns/{name}", ignore_errors=True)


Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start_on(hosts: None) -> Iterator[Start]:
    """Starts a run on a host; what still runs when the test ends is killed with all its processes."""
    started: list[subprocess.Popen[str]] = []

    def start(host: str, folder: Path, *arguments: str, ranks: int = 2, restarts: int = 0) -> "subprocess.Popen[str]":
        launcher = [str(ROOT / "launch" / "multinode.sh"), "--nodes", "2", "--at", "fedsim-a", "--ranks", f"{ranks}"]
        own_host = f"ip netns exec {host} unshare --uts --pid --fork --mount-proc --kill-child".split()
        command = 'hostname "$0" && exec "$@"'
        environment = clean_environment()
        environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
        run = [*launcher, "--restarts", str(restarts), *CLIENTS, f"output_dir={folder}", *arguments]
        process = subprocess.Popen(
            [*own_host, "bash", "-c", command, host, *run],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def wait_for_round(folder: Path, done: int, runs: Iterable["subprocess.Popen[str]"]) -> None:
    """However long that takes on a busy machine: pytest has a time-out of its own."""
    metrics = folder / "run" / "metrics.jsonl"
    while not metrics.exists() or len(metrics.read_text().splitlines()) < done:
        assert all(run.poll() is None for run in runs)
        time.sleep(0.05)


def ranks_on(host: str) -> list[int]:
    """The processes of a host's ranks, as seen from here."""
    found = subprocess.run(["ip", "netns", "pids", host], capture_output=True, text=True, check=True).stdout.split()
    ranks = []
    for pid in found:
        with suppress(OSError):  # it has just ended
            if b"\0-u\0" in Path(f"/proc/{pid}/cmdline").read_bytes():
                ranks.append(int(pid))
    return ranks


def test_rows_go_from_host_to_host_and_give_the_bits_of_one_process(start_on: Start, tmp_path: Path) -> None:
    runs = [start_on(host, tmp_path / "two") for host in HOSTS]
    said = "".join(run.communicate()[0] for run in runs)
    assert [run.returncode for run in runs] == [0, 0], said
    assert "on 4 ranks" in said
    assert "gloo, point to point" in said
    assert main([*CLIENTS, f"output_dir={tmp_path / 'one'}"]) == 0
    one, two = tmp_path / "one", tmp_path / "two"
    assert torch.equal(final_state(one / "run", ROUNDS), final_state(two / "run", ROUNDS))
    assert records(one) == records(two)


def test_a_rank_that_dies_on_another_host_is_named_with_its_host(start_on: Start, tmp_path: Path) -> None:
    runs = {host: start_on(host, tmp_path, "rounds=2000", ranks=1) for host in HOSTS}
    wait_for_round(tmp_path, 2, runs.values())
    os.kill(ranks_on("fedsim-b")[0], signal.SIGKILL)
    killed = time.monotonic()
    said = "".join(run.communicate(timeout=120)[0] for run in runs.values())
    assert time.monotonic() - killed < 60
    sentences = [
        line for line in said.splitlines() if re.match(r"fedsim: rank \d \(host .*\) (died|failed|is late)", line)
    ]
    assert len(sentences) == 1, said
    assert " (host fedsim-b, process " in sentences[0]
    assert " died in phase " in sentences[0]
    nothing_is_left(tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_ranks_on_two_hosts_start_again_and_go_on(start_on: Start, tmp_path: Path) -> None:
    runs = [start_on(host, tmp_path / "two", restarts=2) for host in HOSTS]
    wait_for_round(tmp_path / "two", 4, runs)
    os.kill(ranks_on("fedsim-b")[1], signal.SIGKILL)
    said = "".join(run.communicate()[0] for run in runs)
    assert [run.returncode for run in runs] == [0, 0], said
    assert "fedsim: resumed after round 3" in said
    assert main([*CLIENTS, f"output_dir={tmp_path / 'one'}"]) == 0
    one, two = tmp_path / "one" / "run", tmp_path / "two" / "run"
    assert torch.equal(final_state(one, ROUNDS), final_state(two, ROUNDS))


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_host_that_falls_silent_is_named_once_by_the_side_of_rank_0(start_on: Start, tmp_path: Path) -> None:
    """Its cable is pulled: nothing arrives any more, not even the end of a connection."""
    runs = {host: start_on(host, tmp_path, "rounds=5000") for host in HOSTS}
    wait_for_round(tmp_path, 2, runs.values())
    ip("-n", "fedsim-b", "link", "set", "cable-b", "down")
    try:
        while any(ranks_on(host) for host in HOSTS):
            time.sleep(0.2)
    finally:
        ip("-n", "fedsim-b", "link", "set", "cable-b", "up")  # torchrun itself waits for the other host
    said = {host: run.communicate()[0] for host, run in runs.items()}
    blame = re.compile(r"^fedsim: .* (?:died|failed|is late|fell silent|has lost) .*", re.MULTILINE)
    sentences = {host: blame.findall(text) for host, text in said.items()}
    speaks, silent = HOSTS if "fell silent" in said["fedsim-a"] else reversed(HOSTS)
    assert sentences[silent] == [], said
    assert len(sentences[speaks]) == 1, said
    assert f"(host {silent}, process " in sentences[speaks][0]
    nothing_is_left(tmp_path)
