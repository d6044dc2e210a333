"""Files given by --plugin: what they may import, when they are the same, and which runs depend on them."""

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from fedsim.attacks import AttackView, attacks
from fedsim.build.components import build_components
from fedsim.build.plugins import require_same_plugins
from fedsim.cli import parse_command_line
from fedsim.comm import Monitor, RankStatus
from fedsim.comm.communicator import SingleProcess
from fedsim.config.run import parse_config
from fedsim.errors import ConfigError
from fedsim.main import main
from fedsim.plugins import load_plugin, load_plugins
from fedsim.ranks import _config
from fedsim.run_directory.plugin_source import PluginSource, digest_of
from fedsim.sweep.plan import read_sweep
from fedsim.sweep.runner import plugin_words
from fedsim.updates.matrix import UpdateMatrix
from support.sweeps import sweep_file

ATTACK = """
from fedsim.attacks import Attack, attacks
{imports}

@attacks.register("{name}")
class Mine(Attack):
    def craft(self, view):
        return {factor} * view.honest.mean()
"""
TINY = [
    "data={name: synthetic, num_train: 60, num_test: 10, num_classes: 3, shape: [1, 4, 4]}",
    "model={name: mlp, hidden: [4]}",
    "tracking.tensorboard=false",
]


def write(path: Path, name: str = "mine", factor: str = "-1.0", imports: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(ATTACK.format(name=name, factor=factor, imports=imports))
    return path


def crafted(name: str = "mine") -> float:
    ones = UpdateMatrix(torch.ones(1, 2))
    return float(attacks.build(name)(AttackView(honest=ones, own=ones))[0, 0])


# What is in a plugin --------------------------------------------------------------------------------------


def test_a_plugin_is_its_file_and_what_it_imports_beside_it(tmp_path: Path) -> None:
    imports = "import helpers, torch\nfrom tools.more import FACTOR"
    plugin = write(tmp_path / "a.py", factor="helpers.DOUBLE * FACTOR", imports=imports)
    (tmp_path / "helpers.py").write_text("def f():\n    import late\nDOUBLE = 2\n")
    (tmp_path / "late.py").write_text("")
    (tmp_path / "unused.py").write_text("")
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "__init__.py").write_text("")
    (tmp_path / "tools" / "more.py").write_text("from . import other\nFACTOR = 3\n")
    (tmp_path / "tools" / "other.py").write_text("")
    source = load_plugin(plugin)
    assert set(source.files) == {
        *("a.py", "helpers.py", "late.py"),
        *("tools/__init__.py", "tools/more.py", "tools/other.py"),
    }
    assert crafted() == 6.0


def test_a_neighbour_that_an_import_would_not_find_is_named(tmp_path: Path) -> None:
    for folder, factor in (("one", "2"), ("two", "3")):
        write(tmp_path / folder / f"{folder}.py", folder, "helpers.FACTOR", "import helpers")
        (tmp_path / folder / "helpers.py").write_text(f"FACTOR = {factor}\n")
    load_plugin(tmp_path / "one" / "one.py")
    with pytest.raises(
        ConfigError, match=r"two.py, line 3: import helpers finds .*one/helpers.py, not .*two/helpers.py"
    ):
        load_plugin(tmp_path / "two" / "two.py")
    write(tmp_path / "three" / "three.py", imports="import random")
    (tmp_path / "three" / "random.py").write_text("")
    with pytest.raises(ConfigError, match="give the file beside it another name"):
        load_plugin(tmp_path / "three" / "three.py")


def test_the_contents_count_not_the_place(tmp_path: Path) -> None:
    def digest(folder: str, helper: str) -> str:
        helpers = tmp_path / folder / "helpers.py"
        helpers.parent.mkdir(exist_ok=True)
        helpers.write_text(helper)
        plugin = write(tmp_path / folder / f"{folder}.py", imports="import helpers")
        found = digest_of([load_plugin(plugin)])
        plugin.write_text("")  # another version, which registers nothing, and imports no helper
        load_plugin(plugin)
        sys.path.remove(str(helpers.parent))
        return found

    assert digest("one", "A = 1") == digest("two", "A = 1") != digest("three", "A = 2")
    assert digest_of([]) == ""


# Loading --------------------------------------------------------------------------------------------------


def test_two_plugins_may_have_the_same_file_name(tmp_path: Path) -> None:
    write(tmp_path / "a" / "mine.py", "first", "2.0")
    write(tmp_path / "b" / "mine.py", "second", "3.0")
    load_plugins([str(tmp_path / folder / "mine.py") for folder in "ab"])
    assert (crafted("first"), crafted("second")) == (2.0, 3.0)
    assert len({attacks.get(name).__module__ for name in ("first", "second")}) == 2


def test_the_same_plugin_twice_is_loaded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "mine.py")
    monkeypatch.chdir(tmp_path)
    assert len(load_plugins(["mine.py", str(tmp_path / "mine.py"), f"../{tmp_path.name}/mine.py"])) == 1
    before = attacks.get("mine")
    load_plugin(Path("mine.py"))
    assert attacks.get("mine") is before


def test_an_edited_plugin_takes_the_place_of_the_earlier_version(tmp_path: Path) -> None:
    plugin = write(tmp_path / "mine.py", factor="helpers.FACTOR", imports="import helpers")
    for factor in (2, 3):
        (tmp_path / "helpers.py").write_text(f"FACTOR = {factor}\n")
        load_plugin(plugin)
        assert crafted() == factor


def test_what_has_failed_leaves_nothing_behind(tmp_path: Path) -> None:
    plugin = write(tmp_path / "mine.py")
    plugin.write_text(plugin.read_text() + "\n1 / 0\n")
    with pytest.raises(ConfigError, match="line 10: ZeroDivisionError"):
        load_plugin(plugin)
    assert "mine" not in attacks.describe()


def test_a_name_that_another_plugin_has_is_refused_with_its_file(tmp_path: Path) -> None:
    load_plugin(write(tmp_path / "first.py"))
    with pytest.raises(ConfigError, match=r"second.py, line 5: .* 'mine' is registered already by first.py"):
        load_plugin(write(tmp_path / "second.py"))


# Runs and sweeps that depend on them ----------------------------------------------------------------------


def test_a_run_depends_on_the_plugins_that_it_uses(tmp_path: Path) -> None:
    used, other = write(tmp_path / "used.py", "used"), write(tmp_path / "other.py", "other")
    patch = tmp_path / "patch.py"
    patch.write_text("x = 1\n")
    loaded = load_plugins(map(str, (used, other, patch)))

    def counting(attack: str) -> list[str]:
        config = parse_config({"attack": {"name": attack, "num_byzantine": 1}, "data": {"name": "synthetic"}})
        return [plugin.path.name for plugin in build_components(config, loaded).plugins]

    assert counting("used") == ["used.py", "patch.py"]
    assert counting("alie") == ["patch.py"]


def run(plugin: Path, folder: Path, *more: str) -> int:
    attack = "attack={name: mine, num_byzantine: 1}"
    return main(["--plugin", str(plugin), *TINY, attack, f"output_dir={folder}", "run_name=run", *more])


def test_the_file_of_a_model_counts_whatever_else_it_registers(tmp_path: Path) -> None:
    """As one that holds a network beside an attack that is not used."""
    path = write(
        tmp_path / "mine.py", "unused", imports="import torch\n\nclass Net(torch.nn.Sequential):\n    pass\n"
    )
    plugins = load_plugins([str(path)])
    made = build_components(parse_config({"model": {"name": "module", "path": f"{path}:Net"}}), plugins)
    assert made.plugins == plugins
    assert build_components(parse_config({"model": {"name": "mlp"}}), plugins).plugins == []


def test_a_run_is_not_resumed_with_an_edited_plugin(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    plugin = write(tmp_path / "mine.py", factor="helpers.FACTOR", imports="import helpers")
    helpers = tmp_path / "helpers.py"
    helpers.write_text("FACTOR = -1.0\n")
    assert run(plugin, tmp_path / "runs", "rounds=1") == 0
    kept = tmp_path / "runs" / "run" / "plugins" / "mine"
    assert {path.name: path.read_bytes() for path in kept.iterdir()} == {
        path.name: path.read_bytes() for path in (plugin, helpers)
    }
    assert run(plugin, tmp_path / "runs", "rounds=2", "--resume") == 0
    helpers.write_text("FACTOR = -2.0\n")
    capfd.readouterr()
    assert run(plugin, tmp_path / "runs", "rounds=3", "--resume") == 2
    said = capfd.readouterr().err
    assert "run was run with another version of helpers.py (kept in plugins/ there); start a new run instead" in said


def test_the_copy_that_a_run_keeps_goes_on_with_it(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    plugin = write(tmp_path / "mine.py")
    assert run(plugin, tmp_path / "runs", "rounds=1") == 0
    attacks.forget([attacks.get("mine").__module__])  # as in another process
    plugin.unlink()
    capfd.readouterr()
    assert main(["--resume", str(tmp_path / "runs" / "run"), "rounds=2"]) == 2
    assert f"was run with plugins; add --plugin {plugin}" in capfd.readouterr().err
    copy = tmp_path / "runs" / "run" / "plugins" / "mine" / "mine.py"
    assert run(copy, tmp_path / "runs", "rounds=2", "--resume") == 0


def test_an_edited_plugin_makes_other_cells_of_those_that_use_it(tmp_path: Path) -> None:
    plugin = write(tmp_path / "mine.py", "in_cells")
    path = sweep_file(tmp_path, axes={"attack": [{"name": "in_cells", "num_byzantine": 1}, "none"]})
    hashes = []
    for factor in ("-1.0", "-2.0"):
        write(plugin, "in_cells", factor)
        hashes.append([cell.config_hash for cell in read_sweep(path, plugins=[load_plugin(plugin)]).cells])
    (used, unused), (used_after, unused_after) = hashes
    assert used != used_after
    assert unused == unused_after
    assert unused == read_sweep(path, only=["attack=none"]).cells[0].config_hash


def test_a_cell_is_not_run_with_a_plugin_that_was_edited_meanwhile(tmp_path: Path) -> None:
    plugin = write(tmp_path / "mine.py")
    planned = digest_of(load_plugins([str(plugin)]))
    assert load_plugins([str(plugin)], planned)
    write(plugin, factor="-3.0")
    with pytest.raises(ConfigError, match=r"mine.py was edited after the sweep had started; start the sweep again"):
        load_plugins([str(plugin)], planned)


def test_all_that_a_job_starts_understands_the_options_of_a_cell(tmp_path: Path) -> None:
    plugin = write(tmp_path / "mine.py", "in_jobs")
    loaded = load_plugins([str(plugin)])
    sweep = read_sweep(sweep_file(tmp_path, axes={"attack": ["none"]}), plugins=loaded)
    words = plugin_words(sweep, [plugin])
    command = parse_command_line(["--config", "a.yaml", "--resume-or-start", *words])
    assert load_plugins(command.plugins, command.plugin_digest) == loaded
    assert _config(["clients.count=3", *words]).most_hosts == 3  # python -m fedsim.ranks
    assert plugin_words(sweep, []) == []


class SecondRank(SingleProcess):
    """A second rank beside this one, which has loaded ``plugins``."""

    def __init__(self, plugins: Sequence[PluginSource]) -> None:
        super().__init__()
        self._plugins = plugins
        self.monitor = Monitor(0, {rank: RankStatus(rank=rank) for rank in (0, 1)})

    def all_gather(self, tensor: Tensor) -> Tensor:
        theirs = digest_of(self._plugins) or "0" * 32
        return torch.stack([tensor, torch.tensor(list(theirs.encode()))])


def test_a_rank_with_another_version_is_named() -> None:
    def source(text: bytes) -> PluginSource:
        return PluginSource(Path("mine.py"), {"mine.py": text})

    require_same_plugins(SecondRank([source(b"1")]), [source(b"1")])
    require_same_plugins(SecondRank([]), [])
    with pytest.raises(ConfigError, match=r"rank 1 .* loaded mine.py with other contents than rank 0"):
        require_same_plugins(SecondRank([source(b"2")]), [source(b"1")])
