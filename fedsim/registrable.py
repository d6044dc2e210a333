"""What may be registered: a name that can be typed, a class that lacks nothing, settings that are a schema."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

from fedsim.errors import ConfigError
from fedsim.settings import Schema

if TYPE_CHECKING:
    from fedsim.registry import Component


def require_name(name: object, kind: str) -> None:
    """ConfigError for what cannot be the name of a component.

    >>> require_name("my attack", "attack")
    Traceback (most recent call last):
    fedsim.errors.ConfigError: name: 'my attack' cannot name an attack; use letters, digits and _, as in my_attack
    """
    a_kind = f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"
    if not isinstance(name, str):
        word = getattr(name, "__name__", type(name).__name__)
        raise ConfigError("name", f"register needs the name of {a_kind}", f'write register("...") before {word}')
    if not name.isidentifier():
        problem = f"{name!r} cannot name {a_kind}"
        raise ConfigError("name", problem, f"use letters, digits and _, as in my_{kind.replace(' ', '_')}")


def require_component(component: object, what: str, base: type[Component]) -> None:
    """ConfigError unless ``component`` is a class that derives from ``base`` and lacks nothing.

    Args:
        what: kind and name of the component, for the message.
    """
    if not isinstance(component, type):
        problem = f"{what} is no class but {component!r}"
        raise ConfigError("name", problem, f"register a class that derives from {base.__name__}")
    its = component.__name__
    if not issubclass(component, base):
        parents = " and ".join(parent.__name__ for parent in component.__bases__)
        problem = f"{what} is the class {its}, which derives from {parents}"
        raise ConfigError("name", problem, f"derive it from {base.__name__}")
    missing = component.unimplemented()
    if missing:
        raise ConfigError("name", f"{what}: the class {its} lacks {' and '.join(missing)}", "write it")
    _require_arguments(component, what, base)
    _require_settings(component, what)


def _require_arguments(component: type[Component], what: str, base: type[Component]) -> None:
    """ConfigError unless each method that a component must write takes what it will be called with."""
    for name in dir(base):
        theirs, its = getattr(base, name, None), getattr(component, name, None)
        if not (inspect.isfunction(theirs) and inspect.isfunction(its) and hasattr(theirs, "__isabstractmethod__")):
            continue
        needed = [one for one in inspect.signature(theirs).parameters.values() if one.default is one.empty]
        positional = [one.name for one in needed if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
        named = [one.name for one in needed if one.kind is one.KEYWORD_ONLY]
        try:
            inspect.signature(its).bind(*positional, **dict.fromkeys(named))
        except TypeError:
            problem = f"{what}: {component.__name__}.{name}{inspect.signature(its)} cannot be called as fedsim does"
            wanted = ", ".join([*positional, *(["*"] if named else []), *named])
            raise ConfigError("name", problem, f"write def {name}({wanted})") from None


def _require_settings(component: type[Component], what: str) -> None:
    """ConfigError unless the settings are a schema that has what the class derives from reads."""
    settings = component.Settings
    if not (isinstance(settings, type) and issubclass(settings, Schema)):
        problem = f"{what}: Settings of the class {component.__name__} are no Schema"
        raise ConfigError("name", problem, "write class Settings(Schema):")
    if "name" in settings.model_fields:
        raise ConfigError("name", f"{what}: a setting is called name, which names the component", "call it otherwise")
    for parent in component.__mro__[1:]:
        theirs = vars(parent).get("Settings")
        lacking = [] if theirs is None else [key for key in theirs.model_fields if key not in settings.model_fields]
        if lacking:
            problem = f"{what}: its Settings lack {', '.join(lacking)}, which {parent.__name__} reads"
            raise ConfigError("name", problem, f"write class Settings({parent.__name__}.Settings):")
