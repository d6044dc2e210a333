"""Components by name: aggregators, attacks, data sources, partitioners, models."""

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, Generic, TypeVar

from fedsim.errors import ConfigError, did_you_mean
from fedsim.settings import Schema, parse_settings


@dataclass(frozen=True, kw_only=True)
class Reference:
    """The publication that a method comes from.

    Attributes:
        authors: as they are cited, for example ``Blanchard, El Mhamdi, Guerraoui and Stainer``.
        title: in full.
        year: of publication.
        venue: conference or journal, in short.
        url: an arXiv or DOI link.

    >>> print(Reference(authors="Ada and Bob", title="Robust Means", year=2020, venue="ICML", url="https://doi.org/10"))
    Ada and Bob: Robust Means. ICML 2020. https://doi.org/10
    """

    authors: str
    title: str
    year: int
    venue: str
    url: str

    def __str__(self) -> str:
        title = self.title if self.title.endswith(("?", "!")) else f"{self.title}."
        return f"{self.authors}: {title} {self.venue} {self.year}. {self.url}"


class Component:
    """Something with a registered name and its own settings, given as keywords.

    Raises:
        ConfigError: an unknown or impossible setting, by name.
    """

    class Settings(Schema):
        """This component takes no settings."""

    name: ClassVar[str] = ""
    references: ClassVar[tuple[Reference, ...]] = ()
    settings: Any

    def __init__(self, **settings: Any) -> None:
        self.settings = parse_settings(self.Settings, settings)

    def __repr__(self) -> str:
        values = ", ".join(f"{key}={value!r}" for key, value in self.settings)
        return f"{self.name}({values})"


C = TypeVar("C", bound=Component)


@dataclass(frozen=True)
class Setting:
    """One setting of a component, as ``--list`` and ``--help`` show it."""

    default: Any
    help: str


@dataclass(frozen=True)
class Description:
    """What a component is: its line of help, its whole docstring, its settings, the publications it comes from."""

    summary: str
    documentation: str
    settings: Mapping[str, Setting]
    references: tuple[Reference, ...]


class Registry(Generic[C]):
    """A typed table of the components of one kind.

    >>> class Shape(Component): ...
    >>> shapes = Registry[Shape]("shape")
    >>> @shapes.register("circle")
    ... class Circle(Shape):
    ...     "A round one."
    >>> shapes.build("circle")
    circle()
    >>> shapes.build("circel")
    Traceback (most recent call last):
    fedsim.errors.ConfigError: name: unknown shape 'circel'; did you mean 'circle'? valid: circle
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, type[C]] = {}

    def register(self, name: str, *references: Reference) -> Callable[[type[C]], type[C]]:
        """Class decorator that makes a component available under ``name``; the first reference is its source."""

        def add(component: type[C]) -> type[C]:
            if name in self._entries:
                raise ConfigError("name", f"{self.kind} '{name}' is registered already", "choose another name")
            component.name, component.references = name, references
            self._entries[name] = component
            return component

        return add

    def get(self, name: str) -> type[C]:
        """The class registered under ``name``; ConfigError with the nearest name otherwise."""
        if name not in self._entries:
            raise ConfigError("name", f"unknown {self.kind} '{name}'", did_you_mean(name, self._entries))
        return self._entries[name]

    def build(self, name: str, **settings: Any) -> C:
        """An instance of the component ``name`` with these settings."""
        return self.get(name)(**settings)

    def describe(self) -> Mapping[str, Description]:
        """Every registered name with its line of help, settings and paper, by name."""
        return MappingProxyType({name: _describe(self._entries[name]) for name in sorted(self._entries)})


def _describe(component: type[Component]) -> Description:
    fields = component.Settings.model_fields
    return Description(
        summary=(component.__doc__ or "").strip().split("\n")[0],
        documentation=inspect.cleandoc(component.__doc__ or ""),
        settings=MappingProxyType(
            {key: Setting(field.get_default(), field.description or "") for key, field in fields.items()}
        ),
        references=component.references,
    )


def import_every_module(package: str) -> None:
    """Import each module of ``package``, so that one new file is one new registered component."""
    for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
        importlib.import_module(f"{package}.{module.name}")
