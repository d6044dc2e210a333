"""Configurations from the quickstart and overrides."""

from fedsim.cli import QUICKSTART
from fedsim.config.run import RunConfig, parse_config
from fedsim.config.source import apply_overrides, read_yaml


def configured(*overrides: str) -> RunConfig:
    values, _ = apply_overrides(read_yaml(QUICKSTART), overrides)
    return parse_config(values)
