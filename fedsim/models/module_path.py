"""Finding a user's module class by ``my_net.py:Net``, among what ``--plugin`` has loaded and nowhere else.

A config that names a file must not make it run: nothing is imported here, and nothing can be named but a class of
modules, or a function that the given file defines.
"""

import inspect
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from traceback import extract_tb
from types import ModuleType
from typing import Any

from torch import nn

from fedsim.errors import ConfigError, did_you_mean
from fedsim.files import as_typed, user_path

PLUGIN = "fedsim_plugin_"
"""How the names of modules begin that ``--plugin`` has loaded."""

KEY = "path"


@dataclass(frozen=True)
class ModuleMaker:
    """What makes a user's module: a class of modules, or a function.

    Attributes:
        label: file and name, for messages.
        file: in which it is.
    """

    label: str
    file: Path
    make: Callable[..., Any]

    @property
    def parameters(self) -> dict[str, inspect.Parameter]:
        """What can be given to it by name."""
        try:
            parameters = inspect.signature(self.make).parameters.values()
        except (TypeError, ValueError):
            return {}
        named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        return {parameter.name: parameter for parameter in parameters if parameter.kind in named}

    @property
    def takes_any(self) -> bool:
        """Whether it has ``**kwargs``."""
        return any(p.kind is inspect.Parameter.VAR_KEYWORD for p in inspect.signature(self.make).parameters.values())

    def reason(self, error: BaseException) -> str:
        """What an error out of it says, with the last line of the file that was under way."""
        lines = [frame.lineno for frame in extract_tb(error.__traceback__) if Path(frame.filename) == self.file]
        place = f" (line {lines[-1]})" if lines else ""
        text = " ".join(str(error).split())
        return f"{type(error).__name__}: {text}{place}" if text else f"{type(error).__name__}{place}"


def find_maker(path: str | None) -> ModuleMaker:
    """What ``path`` names.

    Raises:
        ConfigError: it names nothing that ``--plugin`` has loaded, or nothing that makes a module.
    """
    if path is None:
        remedy = "write model.path=my_net.py:Net, and --plugin my_net.py on the command line"
        raise ConfigError(KEY, "says which class the model is, and is missing", remedy)
    place, colon, name = path.rpartition(":")
    if not colon:
        place, name = name, ""
    module = _module(place)
    if not name:
        names = sorted(_makers(module))
        remedy = f"write {place}:{names[0]}" if len(names) == 1 else f"there are: {', '.join(names) or 'none'}"
        raise ConfigError(KEY, f"'{path}' does not say which class of the file is the model", remedy)
    found = vars(module).get(name)
    if found is None:
        raise ConfigError(KEY, f"{place} has no class '{name}'", did_you_mean(name, _makers(module)))
    _require_maker(module, found, path)
    return ModuleMaker(path, Path(str(module.__file__)), found)


def _require_maker(module: ModuleType, found: object, path: str) -> None:
    if _makes_modules(module, found):
        return
    if isinstance(found, nn.Module):
        problem = f"{path} is a module already, whose parameters were not drawn from the run's seed"
        raise ConfigError(KEY, problem, f"name its class, {type(found).__name__}, or a function that makes it")
    if isinstance(found, type):
        parents = " and ".join(parent.__name__ for parent in found.__bases__)
        raise ConfigError(KEY, f"{path} derives from {parents}", "derive it from torch.nn.Module")
    if callable(found):
        problem = f"{path} is a function of another file, {getattr(found, '__module__', None)}"
        raise ConfigError(KEY, problem, "call it in a function of the file that --plugin names")
    raise ConfigError(KEY, f"{path} is {found!r}", "name a class that derives from torch.nn.Module")


def _makes_modules(module: ModuleType, found: object) -> bool:
    """A class of modules, wherever it is from; of functions only those that the plugin itself defines."""
    if isinstance(found, type):
        return issubclass(found, nn.Module)
    return inspect.isfunction(found) and found.__module__ == module.__name__ and module in list(_plugins())


def _makers(module: ModuleType) -> list[str]:
    """Names of the module's own classes and functions that may be meant."""
    own = {name: found for name, found in vars(module).items() if getattr(found, "__module__", "") == module.__name__}
    classes = [name for name, found in own.items() if isinstance(found, type) and issubclass(found, nn.Module)]
    return classes or [name for name, found in own.items() if inspect.isfunction(found)]


def _plugins() -> Iterator[ModuleType]:
    return (module for name, module in list(sys.modules.items()) if name.startswith(PLUGIN))


def _module(place: str) -> ModuleType:
    """The module of a file that ``--plugin`` has loaded, or of one that it imports, by file or import path."""
    plugins = list(_plugins())
    is_file = place.endswith(".py") or "/" in place
    loaded = [*plugins, *list(sys.modules.values())] if plugins else []
    if is_file:
        path = user_path(place, KEY)
        found = next((module for module in loaded if _is_from(module, path)), None)
        if found is None:
            _require_file(path, plugins)
            problem = f"{place} was not given on the command line, and a config runs no file"
            raise ConfigError(KEY, problem, f"add --plugin {as_typed(path)}")
        return found
    module = sys.modules.get(place) if plugins else None
    if module is None or not hasattr(module, "__file__"):
        problem = f"'{place}' is neither a file nor a module that a file given by --plugin imports"
        raise ConfigError(KEY, problem, f"write my_net.py:Net and --plugin my_net.py, or import {place} in that file")
    return module


def _is_from(module: ModuleType, path: Path) -> bool:
    file = getattr(module, "__file__", None)
    return isinstance(file, str) and Path(file).name == path.name and Path(file).resolve() == path.resolve()


def _require_file(path: Path, plugins: Iterable[ModuleType]) -> None:
    if path.is_file():
        return
    namesake = next(
        (file for file in (Path(str(plugin.__file__)) for plugin in plugins) if file.name == path.name), None
    )
    known = f"write {namesake}, as after --plugin, in place of {path}"
    remedy = known if namesake else "name the file of your model, as in my_net.py:Net"
    raise ConfigError(KEY, f"there is no file {path}", remedy)
