"""Work is measured in turn with its yardstick; no test depends on a time."""

import sys
from threading import Thread
from time import sleep, thread_time

import pytest
import torch

from fedsim.benchmark.machine import Conditions
from fedsim.benchmark.measure import Duration, Reading, duration, measure, peak_extra_bytes
from fedsim.benchmark.report import Report, table

CPU = torch.device("cpu")


def test_work_and_yardstick_run_in_turn() -> None:
    calls: list[str] = []
    reading = measure("x", lambda: calls.append("work"), lambda: calls.append("stick"), 3, CPU)
    assert calls == ["work", "work", "stick"] + ["stick", "work"] * 3
    assert len(reading.seconds) == len(reading.yardstick) == len(reading.cpu_seconds) == 3


def test_work_that_raises_becomes_a_problem_not_the_end() -> None:
    reading = measure("x", lambda: 1 / 0, lambda: None, 3, CPU)
    assert reading.ratio is None
    assert "ZeroDivisionError" in reading.problem
    assert "ZeroDivisionError" in table(Report("t", "reads", "a read", Conditions("c", {}), [reading]))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_peak_memory_sees_what_was_held_and_given_back() -> None:
    size = 64 << 20

    def work() -> None:
        torch.ones(size // 4) + torch.ones(size // 4)  # three tensors at once, none kept

    assert 2.9 * size < peak_extra_bytes(work, CPU) < 3.5 * size
    assert peak_extra_bytes(lambda: None, CPU) < size // 8


def test_ratios_are_of_medians() -> None:
    assert Reading("a", seconds=(3.0, 1.0, 100.0), yardstick=(2.0, 1.0, 50.0)).ratio == pytest.approx(1.5)


def test_cpu_time_is_that_of_all_threads_and_not_of_waiting() -> None:
    def of_two_threads() -> None:
        workers = [Thread(target=burn, args=(0.15,)) for _ in range(2)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()

    def burn(seconds: float) -> None:
        until = thread_time() + seconds
        while thread_time() < until:
            pass

    assert duration(of_two_threads, CPU).cpu >= 0.3
    waiting = duration(lambda: sleep(0.2), CPU)
    assert waiting.wall >= 0.2 > 2 * waiting.cpu


def test_scaling_a_reading_leaves_its_ratios() -> None:
    reading = Reading.of("a", [Duration(2.0, 3.0)], [Duration(1.0, 4.0)])
    assert (reading.ratio, reading.cpu_ratio) == (2.0, 0.75)
    halved = reading.scaled(0.5)
    assert (halved.seconds, halved.cpu_seconds) == ((1.0,), (1.5,))
    assert (halved.ratio, halved.cpu_ratio) == (2.0, 0.75)
