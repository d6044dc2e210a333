"""Fixtures of all tests; helpers are in tests/support."""

import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """As a rank does: on rows this small, threads that wait for each other cost more than they give."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _root_logger_as_it_was() -> Iterator[None]:
    """Runs in this process add handlers to the root logger, and keep threads' failures out of the terminal."""
    root = logging.getLogger()
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
