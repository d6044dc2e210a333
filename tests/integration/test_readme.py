"""The README's examples, as a newcomer would copy them."""

import json
import re
from pathlib import Path

import torch

from fedsim.main import main
from support.launch import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


def code(marker: str) -> str:
    return next(block for block in re.findall(r"```(?:python|yaml)\n(.*?)```", README, re.DOTALL) if marker in block)


def test_the_attack_in_one_file_runs(tmp_path: Path) -> None:
    plugin = tmp_path / "shout.py"
    plugin.write_text(code("Shout"))
    options = ["attack.name=shout", "attack.volume=50", "data={name: synthetic}", "model={name: mlp}", "rounds=1"]
    assert main(["--plugin", str(plugin), *options, f"output_dir={tmp_path}"]) == 0


def test_the_notebook_example_runs() -> None:
    names: dict[str, torch.Tensor] = {}
    exec(code("honest = torch.randn"), names)
    assert names["step"].shape == (1000,)
    assert names["step"].isfinite().all()


def test_the_mixture_of_attacks_runs(tmp_path: Path) -> None:
    config = tmp_path / "mixture.yaml"
    config.write_text(code("redraw_every") + f"clients: {{count: 8}}\noutput_dir: {tmp_path}\n")
    options = ["data={name: synthetic}", "model={name: mlp}", "aggregator={name: cwtm}", "rounds=12"]
    assert main(["--config", str(config), *options, "evaluation.every=12", "tracking.tensorboard=false"]) == 0
    (metrics,) = tmp_path.glob("*/metrics.jsonl")
    under = [json.loads(line)["attack"]["attackers"] for line in metrics.read_text().splitlines()]
    assert under[0] == {"5": "alie", "6": "alie", "7": "label_flip"}
    assert sorted(under[11].values()) == ["agr_tailored", "agr_tailored", "label_flip"]


def test_ci_runs_the_readme_test_lines() -> None:
    line = next(line for line in README.splitlines() if line.startswith(".venv/bin/pytest"))
    assert line in (ROOT / ".ci" / "run").read_text()
    named = set(re.findall(r"tests/(\w+)", line))
    assert named == {path.name for path in (ROOT / "tests").iterdir() if any(path.glob("**/test_*.py"))}


def test_the_table_names_what_is_registered() -> None:
    from fedsim.build.registries import REGISTRIES

    table = README[README.index("## What is there") : README.index("## Your own")]
    for kind, registry in REGISTRIES.items():
        for name in registry.describe():
            assert f"`{name}`" in table, (kind, name)
