"""The command line: options, dotted overrides, --help, --list and --check."""

import argparse
import importlib.util
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from pydantic import BaseModel

from fedsim.build.components import REGISTRIES
from fedsim.config.run import RunConfig
from fedsim.errors import ConfigError
from fedsim.files import user_path

USAGE = "torchrun --nproc_per_node=N fedsim/main.py [--config FILE] [dotted.key=value ...]"
QUICKSTART = Path(__file__).resolve().parent / "config" / "quickstart.yaml"
"""A link to ``configs/quickstart.yaml``, so that an installed package has it too."""


@dataclass(frozen=True)
class CommandLine:
    """What the user typed."""

    config: Path
    overrides: list[str]
    resume: bool
    check: bool
    plugins: list[Path]
    show_help: bool
    show_list: bool


class QuietParser(argparse.ArgumentParser):
    """Raises ConfigError where argparse would write to the terminal and exit."""

    def error(self, message: str) -> NoReturn:
        usage = " ".join(self.format_usage().split())
        raise ConfigError("command line", message, usage)


def parse_command_line(arguments: Sequence[str]) -> CommandLine:
    """The command line, taken apart; ConfigError for an option that does not exist."""
    parsed = _parser().parse_intermixed_args(arguments)
    return CommandLine(
        config=QUICKSTART if parsed.config is None else user_path(parsed.config, "--config"),
        overrides=parsed.overrides,
        resume=parsed.resume,
        check=parsed.check,
        plugins=[user_path(plugin, "--plugin") for plugin in parsed.plugin],
        show_help=parsed.help,
        show_list=parsed.list,
    )


def _parser() -> QuietParser:
    parser = QuietParser(prog="fedsim", usage=USAGE, add_help=False, allow_abbrev=False)
    parser.add_argument("--config", help="YAML file (default: quickstart)")
    parser.add_argument("--resume", action="store_true", help="continue the newest run of this name")
    parser.add_argument("--check", action="store_true", help="check the configuration and stop")
    parser.add_argument("--list", action="store_true", help="list aggregators, attacks, data sets, models, ...")
    parser.add_argument(
        "--plugin",
        action="append",
        default=[],
        metavar="FILE",
        help="Python file with components of yours",
    )
    parser.add_argument("--help", "-h", action="store_true", help="show this page")
    parser.add_argument("overrides", nargs="*", metavar="dotted.key=value", help="settings that replace the file's")
    return parser


def load_plugin(path: Path) -> None:
    """Run a Python file, so that the components in it register themselves.

    Raises:
        ConfigError: the file cannot be read, or raises; the message names file and line.
    """
    spec = importlib.util.spec_from_file_location(f"fedsim_plugin_{path.stem}", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise ConfigError("--plugin", f"{path} is not a Python file", "name a .py file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module.__name__] = module
    try:
        spec.loader.exec_module(module)
    except ConfigError as error:
        raise error.under(f"--plugin {path}") from None
    except (Exception, SystemExit) as error:
        trace, line = error.__traceback__, getattr(error, "lineno", None)
        while trace is not None:
            line = trace.tb_lineno if trace.tb_frame.f_code.co_filename == str(path) else line
            trace = trace.tb_next
        raise ConfigError(
            f"--plugin {path}", f"line {line}: {type(error).__name__}: {error}", "fix the file"
        ) from error


def help_text() -> str:
    """The options, then every key with its default and a line of help."""
    lines = [_parser().format_help(), "keys:"]
    for key, default, text in config_keys(RunConfig):
        lines.append(f"  {key} = {_as_yaml(default)}".ljust(42) + f"  {text}")
    return "\n".join([*lines, "", "further keys of a section are those of the component it names: see --list"])


def config_keys(schema: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Any, str]]:
    """Every dotted key of a schema with its default and its line of help."""
    for name, field in schema.model_fields.items():
        if name == "component_settings":
            continue
        kind, default = field.annotation, field.get_default(call_default_factory=True)
        if isinstance(default, list) and len(default) == 1:  # one section or several
            kind, default = type(default[0]), default[0]
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from config_keys(kind, f"{prefix}{name}.")
            settings = getattr(default, "component_settings", {})
            yield from (
                (f"{prefix}{name}.{key}", value, f"of {prefix}{name}.name") for key, value in settings.items()
            )
        else:
            yield f"{prefix}{name}", field.get_default(call_default_factory=True), field.description or ""


def list_text() -> str:
    """Every component with its line of help, its settings and their defaults."""
    lines: list[str] = []
    for kind, registry in REGISTRIES.items():
        described: Mapping[str, Any] = registry.describe()
        lines += [f"{kind}:" if described else f"{kind}: none yet"]
        for name, description in described.items():
            lines += [f"  {name}: {description.summary}"]
            lines += [f"      {reference}" for reference in description.references]
            for key, setting in description.settings.items():
                lines += [f"      {key} = {_as_yaml(setting.default)}".ljust(34) + f"  {setting.help}"]
        lines += [""]
    return "\n".join(lines).rstrip()


def _as_yaml(value: Any) -> str:
    return json.dumps(value)
