"""Files as ``--plugin`` loads them, without a command line."""

import importlib.util
import sys
from pathlib import Path

import pytest


def plugin(path: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write a file and load it as a plugin, for one test."""
    path.write_text(text)
    name = f"fedsim_plugin_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    return path
