"""Runs that are to be resumed."""

from pathlib import Path

import pytest

from fedsim.build.resume import require_run
from fedsim.errors import ConfigError
from fedsim.main import main


def test_a_name_that_has_no_run_names_near_misses(tmp_path: Path) -> None:
    for name in ("mnist5k-alie-krum-seed0", "mnist5k-alie-krum-seed1-2", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").touch()
    (tmp_path / "mnist5k-alie-krum-seed6").mkdir()
    require_run(tmp_path, "mnist5k-alie-krum-seed6")  # failed before its first record, and may go on
    require_run(tmp_path, "mnist5k-alie-krum-seed0")
    require_run(tmp_path, "mnist5k-alie-krum-seed1")
    with pytest.raises(ConfigError) as caught:
        require_run(tmp_path, "mnist5k-alie-krum-seed7")
    message = str(caught.value)
    assert message.startswith(f"--resume: there is no run {tmp_path}/mnist5k-alie-krum-seed7, nor one with -2")
    assert "nearest: mnist5k-alie-krum-seed0, mnist5k-alie-krum-seed1-2;" in message
    assert "other" not in message


def test_resume_wants_a_run_and_resume_or_start_does_not(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run = ["data={name: synthetic, num_train: 64, num_test: 10}", "model={name: mlp}", "attack={name: none}"]
    options = [*run, "clients.count=2", f"output_dir={tmp_path / 'here'}", "tracking.tensorboard=false"]
    assert main([*options, "rounds=1", "--resume"]) == 2
    assert "/here holds no run;" in capfd.readouterr().err
    assert not (tmp_path / "here").exists()
    assert main([*options, "rounds=1", "--resume-or-start"]) == 0
    assert main([*options, "rounds=2", "--resume"]) == 0
    assert "resumed after round 1" in capfd.readouterr().err
    assert main([*options, "rounds=3", "--resume-or-start"]) == 0
    assert "resumed after round 2" in capfd.readouterr().err
