"""Whether torch.compile works is found out before a run starts, and said in a sentence."""

import sys
from pathlib import Path
from typing import Literal

import pytest
import torch

from fedsim.build.compilation import require_compiler
from fedsim.config.run import RuntimeSection
from fedsim.errors import ConfigError
from fedsim.main import main


def check(device: Literal["auto", "cpu", "cuda"] = "cpu") -> None:
    require_compiler(RuntimeSection(device=device, compile=True))


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder with programs."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


@pytest.mark.usefixtures("programs")
def test_a_compiler_that_is_missing_is_found_by_check(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["--check", "runtime.compile=true", "runtime.device=cpu"]) == 2
    (sentence,) = [line for line in capfd.readouterr().err.splitlines() if "runtime.compile: " in line]
    assert "runtime.compile: torch.compile does not work here: " in sentence  # why, in torch's words, differs
    assert sentence.endswith("install a compiler (gcc and g++), or set runtime.compile: false")
    assert main(["--check", "runtime.device=cpu"]) == 0


@pytest.mark.usefixtures("programs")
def test_no_run_directory_is_left(tmp_path: Path) -> None:
    assert main(["runtime.compile=true", "runtime.device=cpu", f"output_dir={tmp_path}/runs"]) == 2
    assert not (tmp_path / "runs").exists()


def test_a_gpu_needs_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "triton", None)
    with pytest.raises(ConfigError, match=r"runtime\.compile: torch\.compile needs Triton on a GPU"):
        check("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(ConfigError, match="pip install triton"):
        check("auto")


def test_where_it_works_nothing_is_said() -> None:
    check()
