"""What a benchmark says of the machine."""

import os
from multiprocessing import get_context
from time import monotonic

import pytest

from fedsim.benchmark.machine import BUSY, busy_warning, cores_in_use, machine, note_for_ranks


@pytest.mark.parametrize(
    ("used", "cores", "threads", "warned"), [(0.2, 2, 2, False), (0.4, 2, 2, True), (1, 2, 1, False)]
)
def test_it_is_busy_where_threads_have_no_cores_of_their_own(
    used: float, cores: int, threads: int, warned: bool
) -> None:
    warning = busy_warning(used, cores, threads)
    assert bool(warning) == warned
    assert not warned or f"{used:.1f} of {cores} cores" in warning


@pytest.mark.skipif(not os.path.exists("/proc/stat"), reason="reads /proc")
def test_a_process_that_works_is_seen() -> None:
    process = get_context("spawn").Process(target=_work_for_ever, daemon=True)
    process.start()
    limit, seen = monotonic() + 60, 0.0
    try:
        while seen <= 0.3 and monotonic() < limit:  # it takes its time to start where others work
            seen = cores_in_use(otherwise=-1.0)
    finally:
        process.kill()
        process.join()
    assert 0.3 < seen <= os.cpu_count()


def _work_for_ever() -> None:
    while True:
        pass


def test_the_line_has_threads_and_load() -> None:
    facts = machine()
    assert f"{facts['threads']} thread" in facts["words"]
    assert f"load {facts['load']:.1f} at the start" in facts["words"]


def test_ranks_do_not_count_each_other_as_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    """What ranks cost when they start is not held against the machine: the process that starts them has looked."""
    monkeypatch.setenv(BUSY, "")
    note_for_ranks({"load": 0.5, "used": 0.125})
    facts = machine()
    assert (facts["load"], facts["used"], facts["warning"]) == (0.5, 0.125, "")
