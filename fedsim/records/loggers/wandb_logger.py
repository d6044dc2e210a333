"""Weights & Biases."""

import logging
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from fedsim.records.loggers.base import LoggedRun, Logger, loggers
from fedsim.records.round_record import RoundRecord

log = logging.getLogger(__name__)

EXIT_CODES = {"failed": 1, "interrupted": 255}
"""By which W&B shows a run as failed; one that diverged has done what it was to do."""

LONGEST_WAIT = 60.0
"""Seconds that the start may take, in which all ranks wait."""


@loggers.register("wandb")
class WandbLogger(Logger):
    """A run of Weights & Biases: settings as its config, a step per round, results as its summary.

    Its files lie in ``wandb/`` of the run's directory. The key is that of ``wandb login`` or ``WANDB_API_KEY``.
    """

    class Settings(Logger.Settings):
        project: str = Field("fedsim", min_length=1, description="project of the run")
        entity: str | None = Field(None, min_length=1, description="user or team; null: W&B's default")
        group: str | None = Field(None, min_length=1, description="runs of one group are shown together")
        tags: list[str] = Field([], description="tags of the run")
        mode: Literal["online", "offline"] | None = Field(
            None, description="offline: files only, for `wandb sync`; null: as WANDB_MODE says, else online"
        )

    settings: Settings

    package = "wandb"

    def start(self, run: LoggedRun) -> str:
        import wandb  # takes seconds

        own = self.settings
        self._run = wandb.init(
            project=own.project,
            entity=own.entity,
            group=own.group,
            tags=own.tags,
            mode=own.mode,
            name=run.name,
            id=run.known_as or None,
            resume="allow" if run.known_as else None,
            reinit="create_new",  # of two loggers each has a run of its own
            dir=str(run.directory),
            config=dict(run.settings),
            settings=wandb.Settings(
                console="off", silent=True, save_code=False, init_timeout=LONGEST_WAIT, login_timeout=LONGEST_WAIT
            ),
        )
        if not self._run.offline:
            log.info("the run is shown at %s", self._run.url)
        return str(self._run.id)

    def log(self, record: RoundRecord) -> None:
        self._run.log(self.numbers(record), step=record.round)

    def end(self, status: str, results: Mapping[str, Any]) -> None:
        self._run.summary.update({"status": status, **results})
        self._run.finish(exit_code=EXIT_CODES.get(status, 0))
