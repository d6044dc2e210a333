"""What the kernel says about a process."""

import signal
import subprocess
import sys

import pytest

from fedsim.comm.health.rank_status import killed_by, trouble_of_process
from support.waiting import wait_until


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM])
def test_the_signal_that_killed_a_process_is_read_from_the_kernel(number: signal.Signals) -> None:
    process = subprocess.Popen(["sleep", "60"])
    try:
        process.send_signal(number)
        wait_until(lambda: trouble_of_process(process.pid) != "")
        assert trouble_of_process(process.pid) == killed_by(number)
        assert number.name in killed_by(number)
    finally:
        process.wait()
    assert trouble_of_process(process.pid) == "its process is gone"


def test_a_stopped_process_and_an_exit_status_are_read_from_the_kernel() -> None:
    process = subprocess.Popen([sys.executable, "-c", "import os; input(); os._exit(7)"], stdin=subprocess.PIPE)
    process.send_signal(signal.SIGSTOP)
    wait_until(lambda: trouble_of_process(process.pid) != "")
    assert trouble_of_process(process.pid) == "its process is stopped (SIGSTOP)"
    process.send_signal(signal.SIGCONT)
    assert process.stdin is not None
    process.stdin.write(b"\n")
    process.stdin.close()
    wait_until(lambda: "status" in trouble_of_process(process.pid))
    assert trouble_of_process(process.pid) == "its process ended with status 7"
    process.wait()
