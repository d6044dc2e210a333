"""The scripts of launch/ and slurm/: what they type, and that they run."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.launch import ROOT, clean_environment, skip_or_fail
from support.runs import RUN, status

LAUNCH = ROOT / "launch"


def run(script: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    environment = clean_environment()
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    command = [str(LAUNCH / script), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


def test_shellcheck_finds_nothing() -> None:
    skip_or_fail("" if shutil.which("shellcheck") else "shellcheck is not installed (Debian: shellcheck)")
    scripts = [*LAUNCH.glob("*"), *(ROOT / "slurm").glob("*"), ROOT / ".ci" / "run"]
    assert len(scripts) >= 10
    done = subprocess.run(
        ["shellcheck", "-x", *map(str, scripts)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_a_run_on_this_machine(tmp_path: Path) -> None:
    done = run("local.sh", "--ranks", "2", *RUN, "rounds=1", f"output_dir={tmp_path}")
    assert done.returncode == 0, done.stderr
    assert " on 2 ranks" in done.stderr
    assert status(tmp_path) == "completed"


@pytest.mark.parametrize("script", ["local.sh", "multinode.sh"])
def test_a_mistake_is_reported_once(script: str) -> None:
    hosts = ["--nodes", "1", "--at", "localhost"] if script == "multinode.sh" else []
    done = run(script, *hosts, "attack.name=fagn")
    assert done.returncode == 2
    assert done.stderr.count("did you mean 'fang'?") == 1


def test_a_dry_run_says_what_would_be_typed() -> None:
    done = run("local.sh", "--ranks", "3", "--restarts", "1", "--dry-run", "rounds=2", "--resume")
    launcher = "torchrun --standalone --local-addr=127.0.0.1 --nproc_per_node=3 --max-restarts=1"
    typed = f"{launcher} {ROOT}/fedsim/main.py rounds=2 --resume"
    assert done.stdout.strip() == typed
    done = run("multinode.sh", "--nodes", "2", "--at", "node1", "--ranks", "4", "--id", "x", "--dry-run", "rounds=2")
    assert "--rdzv-endpoint=node1:29400 --rdzv-id=x" in done.stdout
    assert done.stdout.endswith("fedsim/main.py rounds=2\n")


@pytest.mark.parametrize("script", ["local.sh", "multinode.sh", "tensorboard.sh"])
def test_help_says_how_to_do_it_by_hand(script: str) -> None:
    done = run(script, "--help")
    assert done.returncode == 0
    assert "The same by hand:" in done.stdout


def test_hosts_are_needed_for_several() -> None:
    done = run("multinode.sh", "rounds=1")
    assert done.returncode == 2
    assert "--nodes and --at are needed" in done.stderr


@pytest.mark.parametrize(("nohup", "signals"), [(["nohup"], "SIGTERM,SIGINT,SIGQUIT"), ([], "")])
def test_under_nohup_torchrun_ignores_hangups_too(nohup: list[str], signals: str) -> None:
    shows = f"source {LAUNCH}/common.sh; echo signals: $TORCHELASTIC_SIGNALS_TO_HANDLE"
    command = [*nohup, "bash", "-c", shows]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == f"signals: {signals}".strip()
