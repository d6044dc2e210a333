"""How many ranks to start on each host: ``python -m fedsim.ranks [--hosts N] [arguments of fedsim ...]``.

One per GPU, or per core where there is none or ``runtime.device=cpu``, and at most one per client.
"""

import argparse
import math
import sys
from collections.abc import Sequence

from fedsim.config.run import RunConfig, parse_config
from fedsim.config.source import apply_overrides, read_yaml
from fedsim.errors import ConfigError
from fedsim.files import user_path
from fedsim.machine import count_cores, count_gpus
from fedsim.parsers import Parser, without_settings_after_resume
from fedsim.records.console import print_text
from fedsim.run_directory.directory import CONFIG
from fedsim.standard_streams import keep_standard_streams

MISTAKE = 2


def ranks_for(clients: int, hosts: int, gpus: int, cores: int) -> int:
    """Ranks on each of the hosts.

    >>> ranks_for(clients=8, hosts=1, gpus=0, cores=64), ranks_for(clients=5, hosts=2, gpus=4, cores=64)
    (8, 3)
    """
    return min(gpus or cores, math.ceil(clients / hosts))


def main(arguments: Sequence[str]) -> int:
    """Exit status: 0, 1 if the number was lost, as on a full disk, 2 for a mistake in the configuration."""
    parser = Parser(prog="python -m fedsim.ranks", description=__doc__, allow_abbrev=False)
    parser.add_argument("--hosts", type=int, default=1, help="how many hosts take part")
    own, rest = parser.parse_known_args(arguments)
    try:
        config = _config(rest)
    except ConfigError as error:
        sys.stderr.write(f"fedsim: configuration error: {error}\n")
        return MISTAKE
    gpus = 0 if config.runtime.device == "cpu" else count_gpus()
    return print_text(str(ranks_for(config.most_hosts, own.hosts, gpus, count_cores())))


def _config(arguments: Sequence[str]) -> RunConfig:
    """The configuration that fedsim's arguments describe, without the components, whose checks need torch."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--config")
    parser.add_argument("--plugin")
    parser.add_argument("--plugin-digest")  # from a sweep
    parser.add_argument("--resume", nargs="?")
    own, rest = parser.parse_known_args(without_settings_after_resume(arguments))
    config = user_path(own.resume, "--resume") / CONFIG if own.resume else own.config
    values = read_yaml(user_path(config, "--config")) if config else {}
    return parse_config(apply_overrides(values, [word for word in rest if not word.startswith("-")])[0])


if __name__ == "__main__":
    keep_standard_streams()
    sys.exit(main(sys.argv[1:]))
