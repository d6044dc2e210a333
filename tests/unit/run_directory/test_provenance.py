"""Where a run comes from."""

import hashlib
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from fedsim.main import main
from fedsim.run_directory import provenance
from fedsim.run_directory.provenance import Provenance, commit_of


def git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    done = subprocess.run(["git", "-C", str(folder), *who, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_the_commit_and_whether_the_checkout_is_dirty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert commit_of(tmp_path) is None
    git(tmp_path, "init", "-q")
    assert commit_of(tmp_path) is None  # there is no commit yet
    code = tmp_path / "fedsim" / "a.py"
    code.parent.mkdir()
    code.write_text("a = 1\n")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "first")
    clean = {"commit": git(tmp_path, "rev-parse", "HEAD"), "dirty": False}
    assert commit_of(tmp_path) == clean
    (tmp_path / "my.yaml").write_text("seed: 1\n")
    assert commit_of(tmp_path) == clean
    (code.parent / "new.py").touch()
    assert commit_of(tmp_path) == {**clean, "dirty": True}
    (code.parent / "new.py").unlink()
    code.write_text("a = 2\n")
    assert commit_of(tmp_path) == {**clean, "dirty": True}
    assert commit_of(code.parent) is None  # a package that somebody keeps inside another repository
    monkeypatch.setenv("PATH", "")
    assert commit_of(tmp_path) is None


def test_without_a_checkout_there_is_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    assert Provenance(["main.py", "run_name=a b"]).to_dict()["git"] is None
    assert Provenance(["main.py", "run_name=a b"]).to_dict()["command"] == "main.py 'run_name=a b'"


def test_a_run_records_what_was_typed_and_its_plugins(tmp_path: Path) -> None:
    plugin = tmp_path / "nothing.py"
    plugin.write_text("# nothing\n")
    options = ["data={name: synthetic, num_train: 64, num_test: 10}", "model={name: mlp}", "rounds=1"]
    more = ["attack={name: none}", "clients.count=2", "run_name=a", "tracking.tensorboard=false"]
    typed = [*options, *more, f"output_dir={tmp_path}", "--plugin", str(plugin)]
    assert main(typed) == 0
    stored = json.loads((tmp_path / "a" / "environment.json").read_text())
    assert stored["plugins"] == {str(plugin): hashlib.sha256(b"# nothing\n").hexdigest()}
    assert stored["command"].endswith(f"output_dir={tmp_path} --plugin {plugin}")
    assert "'model={name: mlp}'" in stored["command"]
    assert stored["git"] == commit_of(provenance.ROOT)
