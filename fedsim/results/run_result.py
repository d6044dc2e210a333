"""A run that has been recorded: its rounds as data frames, its settings, its model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
from torch import Tensor, nn

from fedsim.build.components import build_components
from fedsim.build.model import build_module
from fedsim.config.run import parse_config
from fedsim.config.source import read_yaml
from fedsim.errors import CheckpointError, ConfigError, keys_under
from fedsim.files import user_path
from fedsim.models import Task
from fedsim.models.weights import few
from fedsim.records.round_record import RoundRecord
from fedsim.records.summary import read_summary
from fedsim.records.writers import read_records
from fedsim.results.frames import attacks_frame, classes_frame, clients_frame, metrics_frame
from fedsim.run_directory.checkpoint import read_model, stored_rounds
from fedsim.run_directory.damage import read_json
from fedsim.run_directory.directory import CHECKPOINTS, CONFIG, METRICS, TASK
from fedsim.run_directory.launch_facts import ENVIRONMENT

BUFFERS_THAT_STAY = ("num_batches_tracked",)
"""BatchNorm's counters, which are in no checkpoint: no result depends on them."""


@dataclass(frozen=True)
class RunResult:
    """What a run has left in its directory.

    Attributes:
        directory: of the run.
        settings: every setting, as resolved.
        summary: ``status``, ``rounds``, ``final_accuracy``, ``best_accuracy``, ``seconds``, ...
        environment: versions, machine and what was typed.
        up_to: the last round that counts; None: all of them.
    """

    directory: Path
    settings: Mapping[str, Any]
    summary: Mapping[str, Any]
    environment: Mapping[str, Any]
    up_to: int | None = None

    def __repr__(self) -> str:
        accuracy = self.summary.get("final_accuracy")
        quality = "" if accuracy is None else f", final accuracy {accuracy:.3f}"
        return f"RunResult('{self.directory}': {self.status} after {self.summary.get('rounds', 0)} rounds{quality})"

    @property
    def status(self) -> str:
        """``completed``, ``interrupted``, ``diverged``, ``failed``, or ``unfinished`` while there is no summary."""
        return str(self.summary.get("status", "unfinished"))

    @cached_property
    def _records(self) -> Sequence[RoundRecord]:
        records = read_records(self.directory / METRICS)
        return [record for record in records if self.up_to is None or record.round <= self.up_to]

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """A row per round: accuracy, loss, and every other number of a round; docs/glossary.md explains them."""
        return metrics_frame(self._records)

    @cached_property
    def clients(self) -> pd.DataFrame:
        """A row per round and client: length of its update, trust in it, its attack if it is Byzantine, ..."""
        return clients_frame(self._records)

    @cached_property
    def attacks(self) -> pd.DataFrame:
        """A row per round and attack that acted: the clients that attacked, and the attack's parameters."""
        return attacks_frame(self._records)

    @cached_property
    def classes(self) -> pd.DataFrame:
        """A row per evaluated round and class: recall."""
        return classes_frame(self._records)

    @property
    def checkpoints(self) -> list[int]:
        """The rounds after which there are checkpoints."""
        return stored_rounds(self.directory / CHECKPOINTS)

    def parameters(self, after_round: int | None = None) -> dict[str, Tensor]:
        """Parameters and float buffers of the global model, by the names that they have in the module.

        What is frozen (``model.freeze``) is not among them: it never changes, and no checkpoint has it.

        Args:
            after_round: one of :attr:`checkpoints`; the newest by default.

        Raises:
            CheckpointError: there is no such checkpoint, or it is damaged.
        """
        known = self.checkpoints
        if not known:
            raise CheckpointError(f"{self.directory} holds no checkpoint")
        chosen = known[-1] if after_round is None else after_round
        if chosen not in known:
            rounds = ", ".join(map(str, known))
            raise CheckpointError(f"{self.directory} holds no checkpoint after round {chosen}, but after {rounds}")
        return read_model(self.directory / CHECKPOINTS, chosen)

    def model(self, after_round: int | None = None) -> nn.Module:
        """The global model, ready to predict (in evaluation mode, on the CPU).

        It is built as the run has built it, its weights read again where it started from some, and then given the
        values of a checkpoint. Images that it is shown must be normalised by :attr:`normalization`.

        Raises:
            CheckpointError: there is no checkpoint, or it does not fit the model.
            ConfigError: the model cannot be built, as where a plugin has not been imported.
        """
        values = self.parameters(after_round)
        components = build_components(parse_config(self.settings), require_data=False)
        with keys_under("model"):
            module = build_module(components, self.task, with_weights=components.model.has_weights)
        frozen = {name for name, parameter in module.named_parameters() if not parameter.requires_grad}
        found = module.load_state_dict(values, strict=False)
        missing = [name for name in found.missing_keys if name not in frozen and not name.endswith(BUFFERS_THAT_STAY)]
        if found.unexpected_keys:
            raise CheckpointError(f"the model has no {few(found.unexpected_keys)}, which {self.directory} holds")
        if missing and any(name in dict(module.named_parameters()) for name in missing):
            raise CheckpointError(f"{self.directory} holds no {few(missing)}, which the model has")
        return module.eval()

    @property
    def task(self) -> Task:
        """What the model is built for: shape of its inputs, number of classes."""
        facts = self._task_facts
        known = {item.name for item in fields(Task)}
        task = {key: value for key, value in facts.items() if key in known}
        return Task(**{**task, "input_shape": tuple(task["input_shape"])})

    @property
    def class_names(self) -> tuple[str, ...]:
        """Of the classes 0, 1, ..."""
        return tuple(self._task_facts["class_names"])

    @property
    def normalization(self) -> tuple[list[float], list[float]] | None:
        """Mean and standard deviation of each channel (of values from 0 to 1) that images were normalised by."""
        found = self._task_facts["normalization"]
        return None if found is None else (found["mean"], found["std"])

    @cached_property
    def _task_facts(self) -> dict[str, Any]:
        facts = read_json(self.directory / TASK)
        if "input_shape" not in facts:
            problem = f"{self.directory / TASK} is missing or damaged, so it is not known what the model is built for"
            raise ConfigError("directory", problem, "resume the run, which writes it again")
        return facts


def load_run(directory: str | Path) -> RunResult:
    """The run that is recorded in a directory, be it finished or not.

    Args:
        directory: ``<output_dir>/<run_name>``.

    Raises:
        ConfigError: no run is recorded there.
    """
    folder = user_path(directory, "directory")
    if not (folder / CONFIG).is_file():
        problem = f"{folder} holds no run: there is no {CONFIG} in it"
        raise ConfigError("directory", problem, "name the directory of a run, <output_dir>/<run_name>")
    settings = read_yaml(folder / CONFIG)
    if not isinstance(settings.get("data"), Mapping):
        problem = f"{folder / CONFIG} is damaged: the settings of the run are not in it"
        raise ConfigError("directory", problem, "bring it back, or remove the directory")
    return RunResult(folder, settings, read_summary(folder), read_json(folder / ENVIRONMENT))
