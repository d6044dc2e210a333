"""What a run says of the device that it takes, and a GPU that is wanted where there is none."""

from pathlib import Path

import pytest
import torch

from fedsim.main import main

SMALL = ["data={name: synthetic}", "model={name: mlp}", "rounds=1", "tracking.tensorboard=false", "run_name=run"]


@pytest.fixture(autouse=True)
def _no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def logged(folder: Path, *more: str) -> str:
    assert main([*SMALL, f"output_dir={folder}", *more]) == 0
    return (folder / "run" / "logs" / "rank_0.log").read_text()


def test_a_cpu_is_said_and_beside_a_driver_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedsim.build.run.has_signs_of_a_gpu", lambda: False)
    assert "device: CPU" in (said := logged(tmp_path / "none"))
    assert "auto means the CPU" not in said
    monkeypatch.setattr("fedsim.machine.has_signs_of_a_gpu", lambda root: True)
    monkeypatch.setattr("fedsim.build.run.has_signs_of_a_gpu", lambda: True)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    said = logged(tmp_path / "hidden")
    assert "runtime.device: auto means the CPU here, for torch sees no GPU: CUDA_VISIBLE_DEVICES is empty" in said
    assert "auto means the CPU" not in logged(tmp_path / "chosen", "runtime.device=cpu")


def test_a_gpu_that_is_wanted_but_not_there_is_a_mistake(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main([*SMALL, f"output_dir={tmp_path}", "runtime.device=cuda"]) == 2
    said = capfd.readouterr().err
    assert said.startswith("fedsim: configuration error: runtime.device: 'cuda' is wanted but no GPU is visible (")
    assert "Traceback" not in said
    assert not (tmp_path / "run").exists()
