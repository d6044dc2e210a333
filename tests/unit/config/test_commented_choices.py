"""What a preset offers in comments is valid where it is uncommented."""

import re
from pathlib import Path

import pytest

from fedsim.build.components import build_components
from fedsim.config.run import RunConfig, parse_config
from fedsim.config.source import read_yaml
from support.launch import ROOT

PRESETS = ["cifar10_resnet18", "eurosat_deit_small", "fed_isic2019_convnext_nano"]


def uncommented(name: str, folder: Path) -> RunConfig:
    """The preset with what its comments offer behind ``# runtime:``."""
    text = (ROOT / "configs" / f"{name}.yaml").read_text()
    before, offer = text.split("# runtime:\n")
    path = folder / f"{name}.yaml"
    path.write_text(f"{before}runtime:\n{re.sub('^# ', '', offer, flags=re.MULTILINE)}")
    return parse_config(read_yaml(path))


@pytest.mark.parametrize("name", PRESETS)
def test_the_choices_of_a_gpu_are_valid_and_all_that_changes(name: str, tmp_path: Path) -> None:
    config, plain = uncommented(name, tmp_path), parse_config(read_yaml(ROOT / "configs" / f"{name}.yaml"))
    assert (config.runtime.amp, config.runtime.channels_last) == ("bfloat16", True)
    assert (plain.runtime.amp, plain.runtime.channels_last) == ("none", False)
    same = {"amp": "none", "channels_last": False}
    assert config.model_copy(update={"runtime": config.runtime.model_copy(update=same)}).flat() == plain.flat()
    build_components(config, require_data=False)
