"""Whether the server's column maps are compiled is decided once, and kept."""

from pathlib import Path

import pytest
import torch

from fedsim.build.components import Components, build_components
from fedsim.build.kernels import column_maps, compiling_pays, resolve_kernels
from fedsim.build.resume import MAY_CHANGE
from fedsim.comm import RankPlace, open_communicator
from fedsim.config.run import parse_config
from fedsim.errors import ConfigError
from fedsim.main import main
from fedsim.run_directory.directory import CONFIG
from fedsim.updates.column_maps import EAGER
from fedsim.updates.compiled_maps import MOST_ROWS, CompiledMaps
from support.configuration import configured

RESNET18 = 11_173_962


def resolved(parameters: int, earlier: Path | None, *overrides: str) -> Components:
    comm = open_communicator(RankPlace(0, 1, 0, 1), torch.device("cpu"), 60)
    try:
        return resolve_kernels(build_components(configured(*overrides)), comm, parameters, earlier)
    finally:
        comm.close()


def decision(parameters: int, earlier: Path | None, *overrides: str) -> bool | str:
    return resolved(parameters, earlier, *overrides).config.runtime.compile_kernels


def test_auto_compiles_where_the_matrix_is_large_and_the_run_is_long() -> None:
    assert decision(RESNET18, None, "rounds=2000") is True
    assert decision(RESNET18, None, "rounds=2") is False
    assert decision(1000, None, "rounds=2000") is False
    assert decision(1000, None, "rounds=2", "runtime.compile_kernels=true") is True
    assert decision(RESNET18, None, "rounds=2000", "runtime.compile_kernels=off") is False


def test_compiling_pays_with_every_factor_of_the_work() -> None:
    assert compiling_pays(8, RESNET18, 500, "cpu")
    assert not compiling_pays(8, RESNET18, 500, "cuda")  # which is faster without, too
    assert not compiling_pays(8, RESNET18, 50, "cpu")
    assert not compiling_pays(8, RESNET18 // 10, 500, "cpu")
    assert not compiling_pays(MOST_ROWS + 1, RESNET18, 500, "cpu")


@pytest.mark.parametrize("kept", [True, False])
def test_a_resumed_run_keeps_what_was_decided(kept: bool, tmp_path: Path) -> None:
    (tmp_path / CONFIG).write_text(f"runtime: {{compile_kernels: {str(kept).lower()}}}\n")
    assert decision(RESNET18, tmp_path, "rounds=2") is kept
    assert decision(RESNET18, tmp_path, "rounds=2000") is kept
    assert decision(RESNET18, tmp_path, f"runtime.compile_kernels={not kept}") is not kept
    assert "runtime.compile_kernels" in MAY_CHANGE


@pytest.mark.parametrize("text", ["seed: 0\n", "runtime: {compile_kernels: auto}\n", "runtime: 3\n", None])
def test_a_run_of_which_it_is_not_known_is_decided_again(text: str | None, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / CONFIG).write_text(text)
    assert decision(RESNET18, tmp_path, "rounds=2000") is True


def test_what_is_recorded_is_what_was_decided_and_reads_as_the_same() -> None:
    recorded = resolved(RESNET18, None, "rounds=2000").resolved()
    assert recorded["runtime"]["compile_kernels"] is True
    assert parse_config({"runtime": recorded["runtime"]}).runtime.compile_kernels is True


def test_only_a_decision_makes_compiled_maps() -> None:
    assert isinstance(column_maps(resolved(RESNET18, None, "rounds=2000")), CompiledMaps)
    assert column_maps(resolved(RESNET18, None, "rounds=2")) is EAGER


def test_other_values_are_rejected_by_name() -> None:
    with pytest.raises(ConfigError, match=r"runtime\.compile_kernels"):
        configured("runtime.compile_kernels=sometimes")


def test_asked_for_without_a_compiler_the_run_does_not_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["--check", "runtime.compile_kernels=true", "runtime.device=cpu"]) == 2
    (sentence,) = [line for line in capfd.readouterr().err.splitlines() if "runtime.compile_kernels: " in line]
    assert sentence.endswith("install a compiler (gcc and g++), or set runtime.compile_kernels: false")
    assert main(["--check", "runtime.device=cpu"]) == 0
