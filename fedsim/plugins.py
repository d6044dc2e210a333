"""Files of users' that are given by ``--plugin``: they run once, and the components in them register themselves."""

import ast
import hashlib
import importlib.util
import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from fedsim.build.registries import REGISTRIES
from fedsim.errors import ConfigError
from fedsim.files import file_exists, read_bytes, user_path
from fedsim.run_directory.plugin_source import PluginSource, digest_of

SOURCE = "__fedsim_source__"
"""Under this name a plugin's module keeps what it was made of."""


def load_plugins(words: Iterable[str], digest: str | None = None) -> list[PluginSource]:
    """Load the files that a command line names, each once; see :func:`load_plugin`.

    Args:
        digest: of what must be in them, if that is known.
    """
    paths = {path.resolve(): path for path in (user_path(word, "--plugin") for word in words)}
    plugins = [load_plugin(path) for path in paths.values()]
    if digest is not None and digest_of(plugins) != digest:
        names = " or ".join(path.name for path in paths.values())
        raise ConfigError("--plugin", f"{names} was edited after the sweep had started", "start the sweep again")
    return plugins


def load_plugin(path: Path) -> PluginSource:
    """Run a Python file, so that the components in it register themselves.

    It may import what lies beside it. Where it has been loaded before, nothing happens if it is the same, and another
    version takes the place of the earlier one.

    Raises:
        ConfigError: the file cannot be read, or raises; the message names file and line.
    """
    if not path.exists():
        raise ConfigError("--plugin", f"there is no file {path}", "name a .py file")
    if not file_exists(path) or path.suffix != ".py":
        raise ConfigError("--plugin", f"{path} is not a Python file", "name a .py file")
    _make_room_for_neighbours(path.resolve().parent)
    source = PluginSource(path, dict(_files(path)))
    name = module_name(path)
    earlier = sys.modules.get(name)
    if earlier is not None:
        if vars(earlier)[SOURCE].files == source.files:
            return source
        _unload(earlier)
    _run(name, source)
    return source


def module_name(path: Path) -> str:
    """Of the module that a plugin becomes; two files of one name differ in it.

    >>> module_name(Path("/home/ada/mine.py"))
    'fedsim_plugin_mine_735c9b36'
    """
    place = hashlib.blake2b(str(path.resolve()).encode(errors="surrogateescape"), digest_size=4).hexdigest()
    return f"fedsim_plugin_{path.stem}_{place}"


def _run(name: str, source: PluginSource) -> None:
    path = source.path
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    vars(module)[SOURCE] = source
    sys.modules[name] = module
    try:
        with _no_bytecode():
            exec(compile(source.files[path.name], str(path), "exec"), vars(module))
    except (Exception, SystemExit) as error:
        _unload(module)
        line = _line_in(path, error)
        if isinstance(error, ConfigError):
            raise ConfigError(f"--plugin {path}, line {line}", str(error)) from None
        what = error.msg if isinstance(error, SyntaxError) else str(error)
        problem = ": ".join(filter(None, [type(error).__name__, what]))
        raise ConfigError(f"--plugin {path}, line {line}", problem, "fix the file") from error


@contextmanager
def _no_bytecode() -> Iterator[None]:
    """Keep Python from storing what it compiles: within a second it would take it for that of an edited file."""
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        yield
    finally:
        sys.dont_write_bytecode = before


def _unload(plugin: ModuleType) -> None:
    """Take out the components of a plugin, and the modules that it is made of."""
    paths = vars(plugin)[SOURCE].paths
    names = [name for name, module in list(sys.modules.items()) if _file_of(module) in paths]
    names = [plugin.__name__, *(name for name in names if not name.startswith("fedsim_plugin_"))]
    for registry in REGISTRIES.values():
        registry.forget(names)
    for name in names:
        sys.modules.pop(name, None)


def _make_room_for_neighbours(folder: Path) -> None:
    """Let what lies in a plugin's folder be imported, behind everything that could be imported before."""
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
        importlib.invalidate_caches()


def _files(path: Path) -> Iterator[tuple[str, bytes]]:
    """Names and contents of a plugin's file and of those in its folder that it imports, and these, and so on."""
    folder, waiting, seen = path.resolve().parent, [path.resolve()], {path.resolve()}
    yield path.name, _read(path)
    while waiting:
        for neighbour in _imported(waiting.pop(), folder):
            if neighbour not in seen:
                seen.add(neighbour)
                waiting.append(neighbour)
                yield neighbour.relative_to(folder).as_posix(), _read(neighbour)


def _read(path: Path) -> bytes:
    try:
        return read_bytes(path)
    except OSError as error:
        raise ConfigError("--plugin", f"{path} cannot be read: {error.strerror}", "name a file that can") from None


def _imported(path: Path, folder: Path) -> Iterator[Path]:
    """The files in ``folder`` that a Python file imports: of a package, all; what cannot be parsed imports none."""
    try:
        tree = ast.parse(_read(path))
    except (SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names = [node.module]
        else:  # a relative import names a file of the same package, which is there as a whole
            continue
        for name in {name.partition(".")[0] for name in names} - {"fedsim"}:
            yield from _neighbours(name, folder, path, node.lineno)


def _neighbours(name: str, folder: Path, importer: Path, line: int) -> list[Path]:
    """The files of a module or package ``name`` in ``folder``; ConfigError if its import would find another one."""
    file, package = folder / f"{name}.py", folder / name
    found = [file] if file_exists(file) else sorted(package.rglob("*.py")) if package.is_dir() else []
    if not found:
        return []
    spec = importlib.util.find_spec(name)
    places = [] if spec is None else [spec.origin, *(spec.submodule_search_locations or ())]
    if folder in (parent for place in places if place for parent in Path(place).resolve().parents):
        return [path.resolve() for path in found]
    where = next(filter(None, places), "another module")
    problem = f"import {name} finds {where}, not {found[0]} beside the plugin"
    raise ConfigError(f"--plugin {importer}, line {line}", problem, "give the file beside it another name")


def _file_of(module: ModuleType) -> Path | None:
    file = getattr(module, "__file__", None)
    return Path(file).resolve() if isinstance(file, str) else None


def _line_in(path: Path, error: BaseException) -> int | str:
    """The line of a file at which an error came out of it."""
    if isinstance(error, SyntaxError) and error.lineno is not None and _same(error.filename, path):
        return error.lineno
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if _same(frame.filename, path)]
    return next((line for line in reversed(lines) if line is not None), "unknown")


def _same(filename: str | None, path: Path) -> bool:
    return filename is not None and Path(filename).resolve() == path.resolve()
