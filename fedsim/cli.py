"""The command line: options, dotted overrides, plugins, and hints where it is not what it should be."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fedsim.config.source import read_yaml
from fedsim.errors import ConfigError, did_you_mean
from fedsim.files import user_path
from fedsim.help_pages import keys_text, nearest_key, topic_text
from fedsim.parsers import QuietParser, without_settings_after_resume
from fedsim.run_directory.directory import CONFIG

USAGE = "torchrun --nproc_per_node=N fedsim/main.py [--config FILE] [dotted.key=value ...]"
QUICKSTART = Path(__file__).resolve().parent / "config" / "quickstart.yaml"
"""A link to ``configs/quickstart.yaml``, so that an installed package has it too."""


@dataclass(frozen=True)
class CommandLine:
    """What the user typed.

    Attributes:
        directory: of the run that is to be resumed; None: the newest of its name.
    """

    config: Path
    overrides: list[str]
    resume: bool
    resume_or_start: bool
    check: bool
    plugins: list[str]
    plugin_digest: str | None
    show_help: bool
    show_list: bool
    help_topic: str = ""
    directory: Path | None = None


def parse_command_line(arguments: Sequence[str]) -> CommandLine:
    """The command line, taken apart.

    Raises:
        ConfigError: an option that does not exist, or a word that is no setting; it says what is probably meant.
    """
    parsed, unknown = _parser().parse_known_intermixed_args(without_settings_after_resume(arguments))
    if unknown:
        raise _unknown_option(unknown[0], arguments)
    for word in parsed.overrides:
        if "=" not in word:
            raise _no_setting(word)
    directory = user_path(parsed.resume, "--resume") if parsed.resume else None
    return CommandLine(
        config=_config(parsed.config, directory),
        overrides=parsed.overrides,
        resume=parsed.resume is not None or parsed.resume_or_start,
        resume_or_start=parsed.resume_or_start,
        check=parsed.check,
        plugins=parsed.plugin,
        plugin_digest=parsed.plugin_digest,
        show_help=parsed.help is not None,
        help_topic=parsed.help or "",
        show_list=parsed.list,
        directory=directory,
    )


def _config(given: str | None, directory: Path | None) -> Path:
    """The file of the configuration: that of the run whose directory is named, else the one named by ``--config``."""
    if directory is None:
        return QUICKSTART if given is None else user_path(given, "--config")
    if given is not None:
        raise ConfigError("--resume", f"{directory} has a {CONFIG} of its own", "leave --config out")
    if not (directory / CONFIG).is_file():
        raise ConfigError("--resume", f"there is no run in {directory}: no {CONFIG}", "name a run's directory")
    return directory / CONFIG


def _parser() -> QuietParser:
    parser = QuietParser(prog="fedsim", usage=USAGE, add_help=False, allow_abbrev=False)
    parser.add_argument("--config", help="YAML file (default: quickstart)")
    parser.add_argument(
        "--resume",
        nargs="?",
        const="",
        metavar="DIRECTORY",
        help="continue this run with its own settings, or without a directory the newest of the name",
    )
    parser.add_argument("--resume-or-start", action="store_true", help="the same, or start it if there is none")
    parser.add_argument("--check", action="store_true", help="check the configuration and stop")
    parser.add_argument("--list", action="store_true", help="list aggregators, attacks, data sets, models, ...")
    parser.add_argument(
        "--plugin",
        action="append",
        default=[],
        metavar="FILE",
        help="Python file with components of yours",
    )
    parser.add_argument("--plugin-digest", metavar="DIGEST", help=argparse.SUPPRESS)  # from a sweep to its cells
    parser.add_argument(
        "--help", "-h", nargs="?", const="", metavar="KEY", help="show this page, or more of a key or a component"
    )
    parser.add_argument("overrides", nargs="*", metavar="dotted.key=value", help="settings that replace the file's")
    return parser


def _unknown_option(option: str, arguments: Sequence[str]) -> ConfigError:
    """What was probably meant by an option that does not exist: a setting, or another option."""
    word, _, value = option.partition("=")
    after = arguments[arguments.index(option) + 1 :] if option in arguments else []
    if not value:
        value = after[0] if after and not after[0].startswith("-") and "=" not in after[0] else "..."
    key = nearest_key(word.lstrip("-"))
    options = [name for action in _parser()._actions for name in action.option_strings]
    known = did_you_mean(word, options)
    exact = key is not None and word.lstrip("-").replace("-", "_") in (key, *key.split("."))
    if key is None or (known.startswith("did") and not exact):
        return ConfigError("command line", f"there is no option {word}", known)
    return ConfigError(
        "command line", f"there is no option {word}", f"a setting is given without dashes: {key}={value}"
    )


def _no_setting(word: str) -> ConfigError:
    """What was probably meant by a word that is neither an option nor a setting."""
    problem = f"'{word}' is neither an option nor dotted.key=value"
    if word.endswith((".yaml", ".yml")):
        return ConfigError("command line", problem, f"a file is given by --config {word}")
    if word.endswith(".py"):
        return ConfigError("command line", problem, f"a file is given by --plugin {word}")
    key = nearest_key(word)
    return ConfigError("command line", problem, f"write {key}=..." if key else "for example rounds=5")


def help_text(topic: str = "") -> str:
    """The options, then every key with what a bare command runs; or what is known of one key or component."""
    if topic:
        return topic_text(topic.partition("=")[0], read_yaml(QUICKSTART))
    return f"{_parser().format_help()}\n{keys_text(read_yaml(QUICKSTART))}"
