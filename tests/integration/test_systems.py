"""Systems that lack something: macOS, Windows, a container without users."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.forked_ranks import forked_ranks
from support.launch import ROOT, clean_environment, skip_or_fail
from support.runs import RUN, status

WITHOUT_LOCKS = "import sys\nsys.modules['fcntl'] = None\n"
WITHOUT_SIGNALS = "import signal\ndel signal.SIGUSR1, signal.SIGHUP\n"

SYNTHETIC = [*RUN, "rounds=1", "tracking.tensorboard=false"]
COMMANDS = [
    ["fedsim/main.py", "--check"],
    ["-m", "fedsim", "--list"],
    ["-m", "fedsim.sweep", "configs/sweeps/mnist5k_grid.yaml", "--dry-run"],
    ["-m", "fedsim.prepare", "mnist5k"],
    ["-m", "fedsim.benchmark", "--help"],
    ["-m", "fedsim.docs", "--check"],
]


def python_on(system: str, folder: Path, *arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    """Python as it would be on another system."""
    (folder / "sitecustomize.py").write_text(system)
    path = os.pathsep.join([str(folder), str(ROOT)])
    environment = {**clean_environment(), "PYTHONPATH": path, **variables}
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.mark.parametrize(
    ("system", "command"), [*((WITHOUT_LOCKS, one) for one in COMMANDS), (WITHOUT_SIGNALS, COMMANDS[0])]
)
def test_windows_gets_one_sentence(tmp_path: Path, system: str, command: list[str]) -> None:
    done = python_on(system, tmp_path, *command)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("fedsim: this system has no POSIX signals and file locks")
    assert done.stderr.count("\n") == 1


def test_what_macos_lacks_is_not_needed(tmp_path: Path) -> None:
    mac = tmp_path / "mac.py"
    mac.write_text("import os\ndel os.posix_fallocate\n")
    done = forked_ranks(2, "--plugin", str(mac), *SYNTHETIC, f"output_dir={tmp_path}")
    assert done.status == 0, done.err
    assert status(tmp_path) == "completed"


def in_a_container(*command: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    """As a user without a name and without a home."""
    user = ["unshare", "--user", "--map-user=54321", "--map-group=54321"]
    if subprocess.run([*user, "true"], capture_output=True, check=False).returncode:
        skip_or_fail("this user may not make a user namespace")
    unknown = ("HOME", "USER", "LOGNAME", "XDG_CACHE_HOME", "FEDSIM_CACHE", "TORCHINDUCTOR_CACHE_DIR")
    environment = {key: value for key, value in clean_environment().items() if key not in unknown}
    return subprocess.run(
        [*user, sys.executable, *command],
        cwd=ROOT,
        env={**environment, "PYTHONPATH": str(ROOT), **variables},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_user_without_name_and_home_runs_and_prepares(tmp_path: Path) -> None:
    done = in_a_container("-m", "fedsim.prepare", "mnist5k", TMPDIR=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert f"decoded in {tmp_path}" in done.stdout
    done = in_a_container("fedsim/main.py", *RUN, "rounds=1", f"output_dir={tmp_path}", TMPDIR=str(tmp_path))
    assert done.returncode == 0, done.stderr
    program = "from fedsim.files import user_path\nuser_path('~/runs', 'output_dir')"
    done = in_a_container("-c", program)
    assert "output_dir: the home ~ is not known; set HOME" in done.stderr


def test_a_user_without_a_name_has_a_folder_for_compiled_code(tmp_path: Path) -> None:
    program = "from fedsim.build.compilation import name_a_folder_for_compiled_code as name\nname()\n"
    program += "from torch._inductor.runtime.cache_dir_utils import cache_dir\nprint(cache_dir())"
    done = in_a_container("-c", program, TMPDIR=str(tmp_path))
    assert done.stdout.strip() == f"{tmp_path}/torchinductor_54321", done.stderr
