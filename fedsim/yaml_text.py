"""YAML as fedsim reads and writes it: what is written here is read back the same, here and by any other reader."""

import re
from collections.abc import Mapping
from typing import Any

import yaml

from fedsim.errors import ConfigError

_TAG = "tag:yaml.org,2002:"
_INT, _FLOAT, _TIMESTAMP = f"{_TAG}int", f"{_TAG}float", f"{_TAG}timestamp"


class _Loader(yaml.SafeLoader):
    """YAML without code, without duplicate keys, without dates, and with 1e-3 as the number it looks like."""

    def check_printable(self, data: str) -> None:
        """Bytes of a file name that is no UTF-8, which Python shows as surrogates, are let through."""
        super().check_printable(re.sub("[\udc80-\udcff]", "?", data))


def _mapping_without_duplicates(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    keys = [loader.construct_object(key, deep=True) for key, _ in node.value]
    for position, (key, (key_node, _)) in enumerate(zip(keys, node.value, strict=True)):
        if key in keys[:position]:
            raise yaml.constructor.ConstructorError(None, None, f"key '{key}' is there twice", key_node.start_mark)
    return dict(yaml.SafeLoader.construct_mapping(loader, node, deep=True))


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping_without_duplicates)
# YAML 1.1 reads 010 as eight, 1:30 as ninety, 1e-3 as text and 2024-01-31 as a date, which no setting is; here only
# plain numbers are numbers, and the others are text.
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in (_INT, _FLOAT, _TIMESTAMP)]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_OUR_INT = re.compile(r"^[-+]?(0|[1-9]\d*)$", re.ASCII)
_OUR_FLOAT = re.compile(
    r"^([-+]?((\d+\.\d*|\.\d+)([eE][-+]?\d+)?|\d+[eE][-+]?\d+)|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))$", re.ASCII
)
_Loader.add_implicit_resolver(_INT, _OUR_INT, list("-+0123456789"))
_Loader.add_implicit_resolver(_FLOAT, _OUR_FLOAT, list("-+.0123456789"))


class _Dumper(yaml.SafeDumper):
    """Puts every text in quotes that this loader, or another of YAML 1.1 or 1.2, would take for something else."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    """A text of several lines is written in one, with escapes."""
    return dumper.represent_scalar(f"{_TAG}str", text, style='"' if "\n" in text else None)


_Dumper.add_representer(str, _text)
_Dumper.add_implicit_resolver(_INT, _OUR_INT, list("-+0123456789"))
_Dumper.add_implicit_resolver(_FLOAT, _OUR_FLOAT, list("-+.0123456789"))
# Beyond PyYAML's own: numbers of YAML 1.2 (010 is ten, 0o17 fifteen), and the letters that are booleans in YAML 1.1.
_Dumper.add_implicit_resolver(
    _INT, re.compile(r"^[-+]?(\d+|0o[0-7]+|0x[\da-fA-F]+)$", re.ASCII), list("-+0123456789")
)
_Dumper.add_implicit_resolver(
    _FLOAT, re.compile(r"^[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?$", re.ASCII), list("-+.0123456789")
)
_Dumper.add_implicit_resolver(f"{_TAG}bool", re.compile(r"^[yYnN]$"), list("yYnN"))


def parse_yaml(text: str, source: str) -> Any:
    """The value of a YAML text; ConfigError with the place of a syntax error, a tag or a duplicate key."""
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"{source}, line {mark.line + 1}, column {mark.column + 1}" if mark else source
        raise ConfigError("", f"{place}: {error.problem}", "fix the YAML") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError("", f"{source}: {str(error).splitlines()[0]}", "fix the YAML") from None


def yaml_text(values: Mapping[str, Any]) -> str:
    """A mapping as the text of a file.

    >>> print(yaml_text({"run_name": "4711e082", "model": {"name": "mlp", "hidden": [8, 8]}}), end="")
    run_name: '4711e082'
    model:
      name: mlp
      hidden: [8, 8]
    """
    return _dump(dict(values), default_flow_style=None)


def yaml_line(value: Any) -> str:
    """A value in one line, as the right side of ``dotted.key=value``.

    >>> yaml_line({"name": "fang", "target": "1e3"}), yaml_line(None), yaml_line(1e-5)
    ("{name: fang, target: '1e3'}", 'null', '1.0e-05')
    """
    return _dump(value, default_flow_style=True).removesuffix("\n").removesuffix("\n...")


def _dump(value: Any, *, default_flow_style: bool | None) -> str:
    text: str = yaml.dump(
        value, Dumper=_Dumper, sort_keys=False, default_flow_style=default_flow_style, width=float("inf")
    )
    return text
