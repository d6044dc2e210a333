"""Logs: rank 0 speaks to the terminal and to its file, the other ranks to their files only."""

import logging
import os
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from errno import EMFILE, ENFILE
from io import TextIOWrapper
from pathlib import Path

from tqdm import tqdm

from fedsim.errors import ConfigError
from fedsim.files import open_unlinked, require_no_link
from fedsim.standard_streams import ERROR, OUTPUT, write_or_lose

log = logging.getLogger(__name__)

FILE_ONLY = {"file_only": True}
"""As ``extra`` of a log line: it is not for the terminal."""


class _AboveTheBar(logging.Handler):
    """Writes lines so that they do not cut through the progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        if not getattr(record, "file_only", False):
            with suppress(OSError):
                tqdm.write(self.format(record), file=sys.stderr)


class _RunFile(logging.FileHandler):
    """The file of this rank in the run's directory; links are not followed there.

    Raises:
        ConfigError: it cannot be written, or something else has its name.
    """

    def __init__(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            require_no_link(path.parent)
            super().__init__(path, encoding="utf-8", errors="backslashreplace")
        except OSError as error:
            if error.errno in (EMFILE, ENFILE):  # that is no matter of the folder
                raise
            problem = f"cannot write {error.filename or path}: {error.strerror}"
            raise ConfigError("output_dir", problem, "remove it, or name a folder that can be written") from None

    def _open(self) -> TextIOWrapper:
        descriptor = open_unlinked(Path(self.baseFilename), os.O_WRONLY | os.O_APPEND)
        return open(descriptor, "a", encoding=self.encoding, errors=self.errors)


def start_logs(rank: int, directory: Path) -> None:
    """Send this rank's log, warnings and whatever libraries print to ``logs/rank_<rank>.log``.

    Rank 0 keeps the terminal. The others lose theirs down to the file descriptor, because C++
    libraries write there; :func:`write_line` still reaches it. Logs of an earlier run in this process end.
    """
    path = directory / "logs" / f"rank_{rank}.log"
    to_file = _RunFile(path)
    to_file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    for handler in list(root.handlers):
        if isinstance(handler, _RunFile | _AboveTheBar):
            root.removeHandler(handler)
            handler.close()
    root.addHandler(to_file)
    root.setLevel(logging.INFO)
    logging.captureWarnings(True)
    logging.raiseExceptions = False  # a full disk is reported once, not for every line
    threading.excepthook = _log_failed_thread
    warnings.formatwarning = lambda message, category, filename, lineno, line=None: f"{message} ({filename}:{lineno})"
    if rank == 0:
        root.addHandler(_console())
    else:
        sys.stdout.flush()
        sys.stderr.flush()
        assert to_file.stream is not None
        for descriptor in (OUTPUT, ERROR):
            os.dup2(to_file.stream.fileno(), descriptor)


@contextmanager
def log_on_terminal() -> Iterator[None]:
    """Show what is logged in the block; where a run in this process does so already, nothing is shown twice."""
    if any(isinstance(handler, _AboveTheBar) for handler in logging.getLogger().handlers):
        yield
        return
    logger, console = logging.getLogger("fedsim"), _console()
    level = logger.level
    logger.addHandler(console)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(console)
        logger.setLevel(level)


@contextmanager
def logging_kept() -> Iterator[None]:
    """After the block, what :func:`start_logs` sets for this process is as it was before; its files are closed."""
    root = logging.getLogger()
    level, handlers, raises = root.level, list(root.handlers), logging.raiseExceptions
    of_threads, show, form = threading.excepthook, warnings.showwarning, warnings.formatwarning
    try:
        yield
    finally:
        for handler in [handler for handler in root.handlers if handler not in handlers]:
            root.removeHandler(handler)
            handler.close()
        root.setLevel(level)
        logging.captureWarnings(False)
        logging.raiseExceptions = raises
        threading.excepthook, warnings.showwarning, warnings.formatwarning = of_threads, show, form


def _console() -> logging.Handler:
    console = _AboveTheBar()
    console.setFormatter(logging.Formatter("fedsim: %(message)s"))
    return console


def _log_failed_thread(failed: threading.ExceptHookArgs) -> None:
    """A library's thread has failed (TensorBoard's, on a full disk): what it did shows where it is used."""
    if failed.exc_value is not None:
        log.error("a thread failed: %r", failed.exc_value, exc_info=failed.exc_value, extra=FILE_ONLY)


@contextmanager
def keep_terminal() -> Iterator[int]:
    """A descriptor of the terminal that survives :func:`start_logs`."""
    terminal = os.dup(ERROR)
    try:
        yield terminal
    finally:
        os.close(terminal)


def write_line(terminal: int, text: str) -> None:
    """One line to the terminal from any rank, for the moment before it dies."""
    encoding = getattr(sys.stderr, "encoding", None) or "utf-8"
    write_or_lose(terminal, f"fedsim: {text}\n".encode(encoding, "backslashreplace"))
