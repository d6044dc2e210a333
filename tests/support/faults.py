"""A plugin for tests: one rank dies, stops, throws or waits where FAULT="place:rank:kind:nth" says.

It waits until a signal has asked it to stop: a run that shall be stopped cannot end before the signal comes.
"""

import os
import signal
import time
from collections import Counter
from typing import Any

from fedsim.records.phases import Phases
from fedsim.stop_request import StopRequest
from fedsim.training.schedules import Schedule, schedules

PLACE, RANK, KIND, NTH = os.environ.get("FAULT", ":::").split(":")
ONCE = os.environ.get("FAULT_ONCE")  # a file that the first fault leaves: there is then no second one
visits: Counter[str] = Counter()
begin, at, remember = Phases.__call__, Phases.at, StopRequest._remember
asked: list[int] = []


def visit(place: str) -> None:
    visits[place] += 1
    if place != PLACE or os.environ.get("RANK", "0") != RANK or visits[place] != int(NTH):
        return
    if ONCE and os.path.exists(ONCE):
        return
    if ONCE:
        open(ONCE, "w").close()
    if KIND == "throw":
        raise ValueError("thrown on purpose")
    if KIND == "wait":
        wait_for_a_signal()
        return
    os.kill(os.getpid(), getattr(signal, KIND))


def wait_for_a_signal() -> None:
    until = time.monotonic() + 100
    while not asked and time.monotonic() < until:
        time.sleep(0.01)


def remember_too(self: StopRequest, number: int, frame: object) -> None:
    remember(self, number, frame)
    asked.append(number)


@schedules.register("of_faults")
class Unused(Schedule):
    """Of no run: a plugin that registers nothing would count as a part of every run."""

    def factor(self, round_index: int) -> float:
        return 1.0


class FaultyPhase:
    """Has the fault when the phase has begun."""

    def __init__(self, phases: Phases, name: str) -> None:
        self.block, self.name = begin(phases, name), name

    def __enter__(self) -> None:
        self.block.__enter__()
        visit(self.name)

    def __exit__(self, *error: Any) -> None:
        self.block.__exit__(*error)


def faulty_at(self: Phases, where: str) -> None:
    at(self, where)
    visit(where)


setattr(StopRequest, "_remember", remember_too)  # noqa: B010 - a method, to a type checker
setattr(Phases, "at", faulty_at)  # noqa: B010 - a method, to a type checker
setattr(Phases, "__call__", lambda self, name: FaultyPhase(self, name))  # noqa: B010
