"""YAML as fedsim reads and writes it: what is written here is read back the same, here and by any other reader."""

import re
from collections.abc import Callable, Mapping
from typing import Any

import yaml

from fedsim.errors import ConfigError

_TAG = "tag:yaml.org,2002:"
_INT, _FLOAT, _BOOL, _NULL, _MERGE = (f"{_TAG}{kind}" for kind in ("int", "float", "bool", "null", "merge"))

MAX_CHARACTERS, MAX_VALUES, MAX_DEPTH = 2**20, 20_000, 32
"""Of one text. The longest setting there is, the ids of some thousand clients, fits in well; what is larger is no
configuration, and reading it would take seconds. What an alias stands for counts each time."""

MAX_DIGITS = 100
"""Of a whole number; Python takes long for those of many thousands."""


class _Loader(yaml.SafeLoader):
    """YAML of limited size, without code, dates, merges and duplicate keys; 1e-3 is the number it looks like."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._values = self._depth = 0
        self._values_in: dict[yaml.Node, int] = {}

    def check_printable(self, data: str) -> None:
        """Bytes of a file name that is no UTF-8, which Python shows as surrogates, are let through."""
        super().check_printable(re.sub("[\udc80-\udcff]", "?", data))

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """The next node, if the text is not too large with it."""
        event, before = self.peek_event(), self._values
        self._count(1, event)
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise _error(f"more than {MAX_DEPTH} levels of nesting", event)
        node = super().compose_node(parent, index)
        assert node is not None
        self._depth -= 1
        if not isinstance(event, yaml.AliasEvent):
            self._values_in[node] = self._values - before
        elif node in self._values_in:
            self._count(self._values_in[node], event)
        else:
            raise _error(f"'*{event.anchor}' stands inside of what it repeats", event)
        return node

    def _count(self, values: int, event: yaml.Event) -> None:
        self._values += values
        if self._values > MAX_VALUES:
            raise _error(f"more than {MAX_VALUES} keys and values", event)


def _error(problem: str, where: yaml.Node | yaml.Event) -> yaml.MarkedYAMLError:
    mark: Any = where.start_mark
    return yaml.MarkedYAMLError(problem=problem, problem_mark=mark)


# YAML 1.1 reads 010 as eight, 1:30 as ninety, 1e-3 as text and 2024-01-31 as a date, which no setting is; here only
# plain numbers are numbers, with a tag or without, and the others are text.
_OUR_INT = re.compile(r"^[-+]?(0|[1-9]\d*)$", re.ASCII)
_OUR_FLOAT = re.compile(
    r"^([-+]?((\d+\.\d*|\.\d+)([eE][-+]?\d+)?|\d+[eE][-+]?\d+)|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))$", re.ASCII
)


Construct = Callable[[_Loader, yaml.Node], Any]


def _scalar(pattern: re.Pattern[str], value_of: Callable[[str], Any], what: str) -> Construct:
    def construct(loader: _Loader, node: yaml.Node) -> Any:
        if not isinstance(node, yaml.ScalarNode) or not pattern.match(node.value):
            raise _error(f"{_shown(node)} is not {what}", node)
        return value_of(node.value)

    return construct


def _shown(node: yaml.Node) -> str:
    if isinstance(node, yaml.ScalarNode):
        return repr(node.value)
    return "a list" if isinstance(node, yaml.SequenceNode) else "a mapping"


def _int(loader: _Loader, node: yaml.Node) -> int:
    text = _scalar(_OUR_INT, str, "a whole number")(loader, node)
    if len(text) > MAX_DIGITS:
        raise _error(f"{text} has more than {MAX_DIGITS} digits", node)
    return int(text)


def _float(text: str) -> float:
    return float(re.sub(r"\.(inf|nan)", r"\1", text.lower()))


def _sequence(loader: _Loader, node: yaml.Node) -> list[Any]:
    if not isinstance(node, yaml.SequenceNode):
        raise _error(f"{_shown(node)} is not a list", node)
    return [loader.construct_object(item, deep=True) for item in node.value]


def _mapping(loader: _Loader, node: yaml.Node) -> dict[Any, Any]:
    if not isinstance(node, yaml.MappingNode):
        raise _error(f"{_shown(node)} is not a mapping", node)
    mapping: dict[Any, Any] = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        if isinstance(key, list | dict):
            raise _error(f"{_shown(key_node)} cannot be a key", key_node)
        if key in mapping:
            raise _error(f"key '{key}' is there twice", key_node)
        mapping[key] = loader.construct_object(value_node, deep=True)
    return mapping


def _refuse(loader: _Loader, node: yaml.Node) -> Any:
    if node.tag == _MERGE:
        raise _error("'<<' merges nothing here: write the keys out", node)
    raise _error(f"the tag {node.tag.replace(_TAG, '!!')} has no meaning here", node)


_Loader.yaml_multi_constructors = {}
_Loader.yaml_constructors = {
    None: _refuse,
    _NULL: _scalar(re.compile(r"^(~|null|Null|NULL|)$"), lambda text: None, "null"),
    _BOOL: _scalar(
        re.compile(r"^(yes|no|true|false|on|off)$", re.IGNORECASE),
        lambda text: text.lower() in ("yes", "true", "on"),
        "true or false",
    ),
    _INT: _int,
    _FLOAT: _scalar(re.compile(f"{_OUR_FLOAT.pattern}|{_OUR_INT.pattern}", re.ASCII), _float, "a number"),
    f"{_TAG}str": yaml.SafeLoader.construct_scalar,
    f"{_TAG}seq": _sequence,
    f"{_TAG}map": _mapping,
}
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag in (_BOOL, _NULL, _MERGE)]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
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
    """The value of a YAML text.

    Args:
        text: of at most :data:`MAX_CHARACTERS`.
        source: what is read, for the message.

    Raises:
        ConfigError: a syntax error, a tag, a duplicate key or too much of anything, with its place.
    """
    if len(text) > MAX_CHARACTERS:
        problem = f"{source}: more than {MAX_CHARACTERS} characters"
        raise ConfigError("", problem, "no configuration is so long: name another file")
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"{source}, line {mark.line + 1}, column {mark.column + 1}" if mark else source
        raise ConfigError("", f"{place}: {error.problem}", "fix the YAML") from None
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
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
