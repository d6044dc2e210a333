"""Components by name: aggregators, attacks, data sources, partitioners, models."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from fedsim.errors import ComponentError, ConfigError, did_you_mean
from fedsim.registrable import require_component, require_name
from fedsim.seeds import derive_seed, seeded
from fedsim.settings import Schema, parse_settings

if TYPE_CHECKING:
    import torch
    from torch import Tensor


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

    @property
    def further_files(self) -> Sequence[Path]:
        """Python files of the user's that it is made of, beside that of its class."""
        return ()

    @property
    def who(self) -> str:
        """Name and class, and of a plugin the file, for a message."""
        file = plugin_file(type(self))
        return f"'{self.name}' ({type(self).__name__}{f' in {file}' if file else ''})"

    def returned(self, value: object, method: str, device: torch.device) -> Tensor:
        """A tensor of numbers that a method has returned.

        Raises:
            ComponentError: it is no such tensor, or lies elsewhere.
        """
        import torch

        wrong = in_words(value)
        if isinstance(value, torch.Tensor):
            dense = value.layout == torch.strided
            if dense and value.device == device and value.dtype != torch.bool and not value.is_complex():
                return value.detach()
            wrong = f"a {'' if dense else 'sparse '}tensor of {value.dtype} on {value.device}"
        raise ComponentError(f"{self.who}: {method} returned {wrong}, not a tensor of floats on {device}")

    @classmethod
    def is_of_a_plugin(cls) -> bool:
        """Whether somebody else has written it: fedsim's own tests hold its components to their promises."""
        return not cls.__module__.startswith("fedsim.")

    @classmethod
    def unimplemented(cls) -> list[str]:
        """Methods that a subclass must write and this class has not written."""
        return [name for name in dir(cls) if getattr(getattr(cls, name, None), "__isabstractmethod__", False)]

    @classmethod
    def own_draws(
        cls, seed: Callable[[], int], purpose: str = "call", device: torch.device | None = None
    ) -> AbstractContextManager[None]:
        """Around a call of this component: the global generators are seeded, and restored after it.

        So a plugin's ``torch.randn`` gives the same numbers on any number of ranks, resumed or not, and changes
        nobody else's. fedsim's own components draw from generators that they are given: nothing is done for them.

        Args:
            seed: what the draws derive from; it is asked only if it is needed.
            device: whose generator is seeded beside that of the CPU.
        """
        if cls.is_of_a_plugin():
            return seeded(derive_seed(seed(), f"{purpose} of {cls.name}"), device)
        return nullcontext()


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
    >>> shapes = Registry("shape", Shape)
    >>> @shapes.register("circle")
    ... class Circle(Shape):
    ...     "A round one."
    >>> shapes.build("circle")
    circle()
    >>> shapes.build("circel")
    Traceback (most recent call last):
    fedsim.errors.ConfigError: name: unknown shape 'circel'; did you mean 'circle'? valid: circle
    """

    def __init__(self, kind: str, base: Callable[..., C]) -> None:
        assert isinstance(base, type)  # a type[C] would have to be concrete, says mypy
        self.kind, self.base = kind, base
        self._entries: dict[str, type[C]] = {}

    def register(self, name: str, *references: Reference) -> Callable[[type[C]], type[C]]:
        """Class decorator that makes a component available under ``name``; the first reference is its source.

        Raises:
            ConfigError: the name cannot be one or is taken, or the class is no component of this kind.
        """
        require_name(name, self.kind)

        def add(component: type[C]) -> type[C]:
            if name in self._entries:
                file = plugin_file(self._entries[name])
                problem = f"{self.kind} '{name}' is registered already{f' by {file}' if file else ''}"
                raise ConfigError("name", problem, "choose another name")
            require_component(component, f"{self.kind} '{name}'", self.base)
            component.name, component.references = name, references
            self._entries[name] = component
            return component

        return add

    def get(self, name: str) -> type[C]:
        """The class registered under ``name``; ConfigError with the nearest name otherwise."""
        if name not in self._entries:
            remedy = did_you_mean(name, self._entries, self._named_in_words(name))
            more = "; --list names all, one of yours needs --plugin FILE" if remedy.endswith(" more") else ""
            raise ConfigError("name", f"unknown {self.kind} '{name}'", f"{remedy}{more}")
        return self._entries[name]

    def _named_in_words(self, name: str) -> str | None:
        """The component that has this for its name in the field: in the line of help of ``rfa``, geometric median."""
        words = _plain(name)
        places = {key: _plain(one.summary).find(words) for key, one in self.describe().items()} if words else {}
        return min((key for key, place in places.items() if place >= 0), key=places.__getitem__, default=None)

    def build(self, name: str, **settings: Any) -> C:
        """An instance of the component ``name`` with these settings."""
        component = self.get(name)
        with component.own_draws(lambda: 0, "construction"):
            made = component(**settings)
        if "settings" not in vars(made):
            remedy = "call super().__init__(**settings) in it"
            raise ConfigError("name", f"{made.who}: its __init__ does not call the one above it", remedy)
        return made

    def classes(self) -> list[type[C]]:
        """Every registered class."""
        return list(self._entries.values())

    def forget(self, modules: Collection[str]) -> None:
        """Take the components out that these modules have registered."""
        for name, component in list(self._entries.items()):
            if component.__module__ in modules:
                del self._entries[name]

    def describe(self) -> Mapping[str, Description]:
        """Every registered name with its line of help, settings and paper, by name."""
        return MappingProxyType({name: _describe(self._entries[name]) for name in sorted(self._entries)})


def plugin_file(component: type[Component]) -> str:
    """The name of the file of a class that is not fedsim's; empty where there is none."""
    file = getattr(sys.modules.get(component.__module__), "__file__", None)
    return Path(file).name if file and component.is_of_a_plugin() else ""


def labels_of(names: Sequence[str]) -> list[str]:
    """Names that differ: the second component of one name has ``_2`` behind it.

    >>> labels_of(["csv", "wandb", "csv"])
    ['csv', 'wandb', 'csv_2']
    """
    counts = [names[:position].count(name) for position, name in enumerate(names)]
    return [f"{name}_{count + 1}" if count else name for name, count in zip(names, counts, strict=True)]


def in_words(value: object) -> str:
    """What a value is, for a message.

    >>> in_words(None), in_words(3), in_words((1, None))
    ('nothing', 'int', '(int, nothing)')
    """
    if isinstance(value, tuple) and type(value) is tuple:
        return f"({', '.join(map(in_words, value))})"
    return "nothing" if value is None else type(value).__name__


def _plain(text: str) -> str:
    """Lower-case words with spaces between them.

    >>> _plain("Coordinate-wise median.")
    'coordinate wise median'
    """
    return re.sub(r"[\W_]+", " ", text).strip().lower()


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
