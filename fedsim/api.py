"""Runs from Python, in a notebook or a script: what ``fedsim.run`` does."""

import io
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, redirect_stderr
from pathlib import Path
from typing import Any

from fedsim.build.components import build_components
from fedsim.build.process import prepare_process, process_settings_kept
from fedsim.build.run import Run, open_run
from fedsim.build.without_effect import warn_of_settings_without_effect
from fedsim.cli import QUICKSTART
from fedsim.comm import RankPlace
from fedsim.config.run import parse_config
from fedsim.config.source import apply_overrides, as_overrides, read_yaml
from fedsim.failures import messages
from fedsim.files import user_path
from fedsim.plugins import load_plugin
from fedsim.records.logs import logging_kept
from fedsim.results.run_result import RunResult, load_run
from fedsim.run_directory.failure_note import record_failure
from fedsim.run_directory.provenance import Provenance
from fedsim.stop_request import StopRequest

_TURN = threading.RLock()
"""A run seeds generators and sets threads of the whole process, so two threads must not run at once."""


def run(
    config: str | Path | Mapping[str, Any] | None = None,
    overrides: Mapping[str, Any] | Sequence[str] | str = (),
    *,
    plugins: Sequence[str | Path] | str | Path = (),
    resume: bool = False,
    quiet: bool = False,
) -> RunResult:
    """Run a simulation in this process: the same bits as ``torchrun fedsim/main.py``, on however many ranks.

    What a run sets for its process (threads, determinism, logging) is as before when it has ended. Your own attacks
    and aggregators need no plugin: it is enough that the classes are registered when this is called. Calls from
    several threads take turns.

    Args:
        config: a YAML file, or its values; without, ``configs/quickstart.yaml``.
        overrides: settings that replace the config's, ``{"aggregator": "cwtm", "attack": {"name": "alie", "z": 1}}``,
            also under dotted keys, ``{"attack.z": 2}``, or as on the command line, ``["rounds=3"]``. Naming another
            component drops the settings of the one before.
        plugins: Python files with components of yours, as after ``--plugin``.
        resume: continue the newest run of this name, or start it if there is none.
        quiet: show no progress on standard error.

    Returns:
        What the run has left in its directory. Its ``status`` is ``completed`` or ``diverged``.

    Raises:
        ConfigError: a setting is wrong; nothing has been started then.
        KeyboardInterrupt: the run was interrupted: it has written a checkpoint, and ``resume=True`` continues it.

    >>> import fedsim, tempfile
    >>> folder = tempfile.mkdtemp()
    >>> settings = {"data": {"name": "synthetic", "shape": [4]}, "model": {"name": "mlp", "hidden": []}, "rounds": 2}
    >>> result = fedsim.run({"output_dir": folder}, settings, quiet=True)
    >>> result.status, len(result.metrics), result.settings["aggregator"]["name"]
    ('completed', 2, 'fedseca')
    """
    words = as_overrides(_plain(overrides)) if isinstance(overrides, Mapping) else _listed(overrides)
    with (
        _TURN,
        _no_exit(),
        redirect_stderr(io.StringIO()) if quiet else nullcontext(),
        process_settings_kept(),
        logging_kept(),
    ):
        loaded = [load_plugin(user_path(plugin, "plugins")) for plugin in _listed(plugins)]
        values = _plain(config) if isinstance(config, Mapping) else read_yaml(_file(config))
        values, _ = apply_overrides(values, words)
        components = build_components(parse_config(values), loaded)
        warn_of_settings_without_effect(components, values)
        prepare_process(components)
        stop, provenance = StopRequest(), Provenance(["fedsim.run", *_said(config), *words])
        opened = open_run(components, RankPlace(0, 1, 0, 1), resume=resume, stop=stop, provenance=provenance)
        with _closing(opened), _no_exit(), stop.listening():
            status = opened.simulation.run()
            opened.close(status)
    if status == "interrupted":
        raise KeyboardInterrupt(f"{opened.directory}: {messages.early_end(status, opened.simulation.done)}")
    return load_run(opened.directory)


def _plain(value: Any) -> Any:
    """Numbers of NumPy and torch, tuples and paths as a YAML file has them."""
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return value.tolist() if callable(getattr(value, "tolist", None)) else value


def _listed(given: Any) -> list[Any]:
    """One word or path is as good as a list of it."""
    return [given] if isinstance(given, str | Path) else list(given)


def _file(config: str | Path | None) -> Path:
    return QUICKSTART if config is None else user_path(config, "config")


def _said(config: object) -> list[str]:
    return [str(config)] if isinstance(config, str | Path) else []


@contextmanager
def _no_exit() -> Iterator[None]:
    """A component that calls ``sys.exit`` must not end the notebook or script, which would say nothing."""
    try:
        yield
    except SystemExit as error:
        raise messages.exit_called(error) from error


@contextmanager
def _closing(opened: Run) -> Iterator[None]:
    """Where the block fails, the run is recorded as failed, and its directory and transport are given back."""
    try:
        yield
    except BaseException as error:
        if isinstance(error, Exception):
            me = opened.simulation.comm.monitor.me
            record_failure(opened.directory, messages.failed(me, error, opened.directory))
        opened.close("failed" if isinstance(error, Exception) else "interrupted")
        raise
