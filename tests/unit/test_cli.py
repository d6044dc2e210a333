"""The command line."""

import pytest

from fedsim.cli import help_text, list_text, parse_command_line
from fedsim.errors import ConfigError


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(ConfigError, match="--resum"):
        parse_command_line(["--resum"])


def test_help_and_list_show_every_key_and_component() -> None:
    keys = help_text()
    assert all(key in keys for key in ("clients.optimizer.lr = 0.02", "runtime.nonfinite", "data.partition.name"))
    listed = list_text()
    assert all(name in listed for name in ("fedseca", "sparsity = 0.9", "label_flip", "mnist5k", "dirichlet", "timm"))
