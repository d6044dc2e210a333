"""What is said about a failure."""

import importlib.util
from pathlib import Path

import pytest
import torch

from fedsim.comm import RankStatus
from fedsim.failures.messages import failed, failed_at_start

ME = RankStatus(rank=1, host="vm", pid=7, machine="vm", activity="phase 'attack'")


def test_the_line_of_a_plugin_is_named(tmp_path: Path) -> None:
    """Also where a library has raised, or fedsim itself, which the plugin has called."""
    plugin = tmp_path / "mine.py"
    plugin.write_text(
        "import torch\nfrom fedsim.updates.matrix import UpdateMatrix\n\n"
        "def craft(rows):\n    return torch.stack(rows)\n"
        "def wrap(rows):\n    return UpdateMatrix(rows)\n"
    )
    spec = importlib.util.spec_from_file_location("mine", plugin)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with pytest.raises(TypeError) as caught:
        module.craft(torch.ones(1))
    said = failed(ME, caught.value, None)
    assert "failed in phase 'attack': TypeError: stack(): argument" in said
    assert said.endswith(" (mine.py, line 5; traceback in logs/rank_1.log)")
    with pytest.raises(ValueError, match="floating tensor") as wrapped:
        module.wrap(torch.ones(1))
    assert failed(ME, wrapped.value, None).endswith(" (mine.py, line 7; traceback in logs/rank_1.log)")
    assert failed_at_start(0, wrapped.value).endswith("not torch.float32 [1] (mine.py, line 7)")


def test_a_failure_of_the_system_names_no_line() -> None:
    said = failed(ME, PermissionError(13, "Permission denied", "/data/x"), None)
    assert said.endswith("failed in phase 'attack': /data/x: Permission denied (traceback in logs/rank_1.log)")
