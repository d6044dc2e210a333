"""The page on models of one's own: its file and its commands, as they stand."""

import re
import shlex
from pathlib import Path

import pytest

import fedsim.main
from support.launch import ROOT


def test_the_file_and_the_commands_of_the_page_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / "docs" / "own_models.md").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    Path("my_net.py").write_text(re.findall(r"```python\n(.*?)```", text, re.DOTALL)[0])
    found = re.findall(r"^python -m fedsim (.*)$", text, re.MULTILINE)
    assert len(found) == 2
    for arguments in found:
        assert fedsim.main.main([*shlex.split(arguments), "rounds=1", "clients.local_steps=1"]) == 0
