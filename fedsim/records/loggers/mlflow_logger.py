"""MLflow."""

import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, TypeVar

from pydantic import Field

from fedsim.records.loggers.base import LoggedRun, Logger, flat_settings, loggers
from fedsim.records.round_record import RoundRecord

T = TypeVar("T")

STATUSES = {"failed": "FAILED", "interrupted": "KILLED"}
"""Others are FINISHED; the tag ``fedsim.status`` says what a run has come to."""

MOST_PARAMETERS, MOST_METRICS, LONGEST_VALUE = 100, 1000, 500
"""What MLflow takes at once, and characters of a parameter's value that every version of it takes."""

PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "20"}
"""MLflow's own settings would have all ranks wait for minutes where a server cannot be reached."""


@loggers.register("mlflow")
class MlflowLogger(Logger):
    """A run of MLflow: settings as its parameters, a step per round, the run's status as the tag ``fedsim.status``.

    What an address of a server must not show (user, password, token) MLflow takes from the environment.
    """

    class Settings(Logger.Settings):
        experiment: str = Field("fedsim", min_length=1, description="experiment of the run; it is made if need be")
        tracking_uri: str | None = Field(
            None,
            min_length=1,
            description="server, or database (sqlite:///runs.db); null: as MLFLOW_TRACKING_URI says, or MLflow's own",
        )

    settings: Settings

    package = "mlflow"

    def start(self, run: LoggedRun) -> str:
        from mlflow import MlflowClient  # takes seconds

        for name, value in PATIENCE.items():
            os.environ.setdefault(name, value)
        self._client = MlflowClient(tracking_uri=self.settings.tracking_uri)
        if run.known_as:
            self._run = run.known_as
            self._client.update_run(self._run, status="RUNNING")
        else:
            self._run = self._new_run(run)
        return self._run

    def _new_run(self, run: LoggedRun) -> str:
        from mlflow.entities import Param

        name, client = self.settings.experiment, self._client
        known = client.get_experiment_by_name(name)
        experiment = client.create_experiment(name) if known is None else known.experiment_id
        made: str = client.create_run(experiment, run_name=run.name).info.run_id
        client.set_tag(made, "fedsim.directory", str(run.directory))
        parameters = [Param(key, str(value)[:LONGEST_VALUE]) for key, value in flat_settings(run.settings)]
        for some in _batches(parameters, MOST_PARAMETERS):
            client.log_batch(made, params=some)
        return made

    def log(self, record: RoundRecord) -> None:
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        numbers = {name: value for name, value in self.numbers(record).items() if name != "round"}
        metrics = [Metric(metric_name(name), float(value), now, record.round) for name, value in numbers.items()]
        for some in _batches(metrics, MOST_METRICS):
            self._client.log_batch(self._run, metrics=some)

    def end(self, status: str, results: Mapping[str, Any]) -> None:
        for name, value in results.items():
            self._client.set_tag(self._run, f"fedsim.{name}", str(value))
        self._client.set_tag(self._run, "fedsim.status", status)
        self._client.set_terminated(self._run, status=STATUSES.get(status, "FINISHED"))


def metric_name(name: str) -> str:
    """A name with ``_`` for what MLflow does not take in one.

    >>> metric_name("metrics.unsure.cat & dog")
    'metrics.unsure.cat _ dog'
    """
    return re.sub(r"[^\w\-. /]", "_", name)


def _batches(items: Sequence[T], size: int) -> Iterator[list[T]]:
    rest = iter(items)
    while some := list(islice(rest, size)):
        yield some
