"""Fixtures of all tests; helpers are in tests/support."""

import logging
import random
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch


def pytest_make_parametrize_id(val: object) -> str | None:
    """Bytes are named by their number: what they hold may differ between workers, whose tests must have one name."""
    return f"{len(val)}_bytes" if isinstance(val, bytes) else None


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """As a rank does: on rows this small, threads that wait for each other cost more than they give."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _same_draws() -> None:
    """What a test draws from the global generators does not depend on the tests before it in the same worker."""
    random.seed(0)
    np.random.seed(0)
    torch.default_generator.manual_seed(0)


@pytest.fixture(autouse=True)
def _root_logger_as_it_was() -> Iterator[None]:
    """Runs in this process add handlers to the root logger, and keep threads' failures out of the terminal."""
    root = logging.getLogger()
    root.handlers[:] = [one for one in root.handlers if not type(one).__module__.startswith("fedsim.")]  # a fixture's
    handlers, level = list(root.handlers), root.level
    yield
    logging.raiseExceptions, threading.excepthook = True, threading.__excepthook__
    root.handlers[:], root.level = handlers, level
    logging.captureWarnings(False)


@pytest.fixture
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of decoded data, empty and of this test alone."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("FEDSIM_CACHE", str(folder))
    return folder


@pytest.fixture(autouse=True)
def _plugins_unloaded() -> Iterator[None]:
    """What a test registers or loads by ``--plugin`` is gone after it, as at the end of a process."""
    from fedsim.build.registries import REGISTRIES

    entries = {kind: dict(registry._entries) for kind, registry in REGISTRIES.items()}
    path, plugins = list(sys.path), _plugin_modules()
    yield
    for kind, registry in REGISTRIES.items():
        registry._entries = entries[kind]
    for name in _plugin_modules() - plugins:
        del sys.modules[name]
    if folders := set(sys.path) - set(path):
        for name, module in list(sys.modules.items()):
            if not folders.isdisjoint(_folders_of(module)):
                del sys.modules[name]
    sys.path[:] = path


def _plugin_modules() -> set[str]:
    return {name for name in sys.modules if name.startswith("fedsim_plugin_")}


def _folders_of(module: ModuleType) -> set[str]:
    file = getattr(module, "__file__", None)
    return set(map(str, Path(file).parents)) if isinstance(file, str) else set()
