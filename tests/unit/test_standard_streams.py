"""A program that has lost its terminal, or was started without one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.launch import clean_environment

KEEP = (
    "import os, subprocess, sys\nfrom fedsim.standard_streams import keep_standard_streams\nkeep_standard_streams()\n"
)
PRINT = """
data = open(sys.argv[1], 'w')
for word in 'one', 'two':
    for stream in sys.stdout, sys.stderr:
        stream.write(word + chr(10))
        stream.flush()
    for descriptor in 1, 2:
        os.write(descriptor, word.encode()) if len(sys.argv) > 2 else None
    data.write(word)
sys.stdout.write('pending at the end')
"""


def run(
    program: str, path: Path, redirection: str, *more: str, options: str = ""
) -> "subprocess.CompletedProcess[str]":
    shell = f'exec "$0" {options} -c "$@" {redirection}'
    command = ["bash", "-c", shell, sys.executable, KEEP + program, str(path), *more]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env=clean_environment(), check=False)


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", "<&- >&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_a_file_never_takes_the_number_of_a_closed_descriptor(tmp_path: Path, closed: str) -> None:
    done = run(PRINT, tmp_path / "data", closed, "by descriptor, as libraries in C++ do")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "data").read_text() == "onetwo"
    assert done.stdout == ("" if " >&-" in f" {closed}" else "one\nonetwo\ntwopending at the end")
    assert done.stderr == ("" if "2>&-" in closed else "one\nonetwo\ntwo")


@pytest.mark.parametrize("lost", ["1</dev/null 2>&1", ">/dev/full 2>&1", "> >(exec <&-; sleep 0.2) 2>&1"])
def test_what_cannot_be_printed_ends_no_program(tmp_path: Path, lost: str) -> None:
    done = run(f"import time; time.sleep(0.1)\n{PRINT}", tmp_path / "data", lost)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (tmp_path / "data").read_text() == "onetwo"


def test_programs_that_it_starts_have_standard_streams_too(tmp_path: Path) -> None:
    program = "subprocess.run([sys.executable, '-c', 'import os, sys; [os.fstat(n) for n in range(3)]'], check=True)"
    assert run(program, tmp_path, "<&- >&-").returncode == 0


def test_a_pipe_that_does_not_block_gets_every_byte() -> None:
    """As a terminal that another program has left so: it takes no more than its reader has taken."""
    reads, writes = os.pipe()
    os.set_blocking(writes, False)
    program = [sys.executable, "-c", f"{KEEP}for n in range(60): sys.stdout.write('x' * 9_999 + chr(10))"]
    process = subprocess.Popen(program, stdout=writes, env=clean_environment())
    os.close(writes)
    with os.fdopen(reads) as pipe:
        assert pipe.read() == ("x" * 9_999 + "\n") * 60
    assert process.wait(timeout=60) == 0


@pytest.mark.parametrize("options", ["", "-u"])
def test_the_streams_are_otherwise_those_of_python(tmp_path: Path, options: str) -> None:
    facts = (
        "[(s.encoding, s.errors, s.line_buffering, s.write_through, s.fileno()) for s in (sys.stdout, sys.stderr)]"
    )
    before = KEEP.replace("keep_standard_streams()\n", f"before = {facts}\nkeep_standard_streams()\n")
    shell = ["bash", "-c", f'exec "$0" {options} -c "$1"', sys.executable, f"{before}assert before == {facts}"]
    done = subprocess.run(shell, capture_output=True, text=True, timeout=60, env=clean_environment(), check=False)
    assert done.returncode == 0, done.stderr


def test_a_disk_that_has_room_again_gets_what_follows(tmp_path: Path) -> None:
    """One failed write must not silence a log of a week."""
    program = f"{KEEP}import resource, signal\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    program += "resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))\nprint('lost', flush=True)\n"
    program += "resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)\nprint('kept', flush=True)\n"
    with (tmp_path / "log").open("w") as log:
        subprocess.run([sys.executable, "-c", program], stdout=log, env=clean_environment(), check=True)
    assert (tmp_path / "log").read_text() == "kept\n"
