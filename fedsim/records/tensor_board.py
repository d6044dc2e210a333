"""TensorBoard events of a run.

TensorBoard chooses colours, one for each run. So a run writes into one folder and has one colour in all charts of a
tab. Honest and Byzantine clients are curves next to each other; pictures show both in colours that never change.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fedsim.records.board_layout import SINGLE, layout
from fedsim.records.pictures import Picture, confusion_picture, trust_picture
from fedsim.records.round_record import AttackRecord, RoundRecord
from fedsim.records.side_curves import side_curves
from fedsim.records.sides import Sides, curves_of, side_of, sides_of
from fedsim.records.summary import ResultsSoFar, results_in
from fedsim.records.thinned import Thinned
from fedsim.records.writers import RecordWriter, read_records

QUALITY = ("accuracy", "balanced_accuracy", "macro_f1", "worst_client_accuracy", "mean_client_accuracy", "loss")

COLUMNS = 240
"""A picture over rounds has at most so many columns; of longer runs it shows evenly spaced rounds."""


@dataclass(frozen=True, kw_only=True)
class TensorBoardSettings:
    """What TensorBoard shows of a run beside its records.

    Attributes:
        byzantine: ids of the Byzantine clients.
        num_clients: K.
        partition: the picture of samples per client and class.
        class_names: of the C classes.
        curves: how many clients get curves of their own.
        classes: whether each class gets a curve of its recall.
        images_every: rounds between images (0: none).
        rounds: of the whole run.
        metrics: names of the run's further metrics; a chart holds all values of one.
        texts: named texts to show, for example the configuration.
        hparams: every setting, for the table of hyperparameters.
    """

    byzantine: Collection[int]
    num_clients: int
    partition: Picture
    class_names: Sequence[str]
    curves: int
    classes: bool
    images_every: int
    rounds: int
    metrics: Sequence[str] = ()
    texts: Mapping[str, str] = field(default_factory=dict)
    hparams: Mapping[str, str | float] = field(default_factory=dict)


def evenly(items: Sequence[int], count: int) -> list[int]:
    """``count`` of the items, evenly spaced; all of them if there are no more.

    >>> evenly(range(10), 3)
    [0, 3, 6]
    """
    return [items[position * len(items) // count] for position in range(count)] if count < len(items) else list(items)


def followed_clients(num_clients: int, byzantine: Collection[int], curves: int) -> set[int]:
    """The clients that get curves of their own: both sides in proportion, at least one of each if there is room.

    >>> sorted(followed_clients(100, byzantine=range(80, 100), curves=5))
    [0, 20, 40, 60, 80]
    """
    hostile = sorted(byzantine)
    honest = [client for client in range(num_clients) if client not in set(hostile)]
    share = round(curves * len(hostile) / num_clients)
    share = min(max(share, min(1, len(hostile), curves - 1)), curves)
    return {*evenly(hostile, max(0, share)), *evenly(honest, curves - max(0, share))}


class TensorBoard(RecordWriter):
    """Writes the events of a run; it stands after ``metrics.jsonl``, from which a resumed run knows its past.

    Args:
        folder: of the events, a new one or that of the run that is resumed.
        metrics: the run's ``metrics.jsonl``.
        after_round: events of later rounds are hidden (purged).
        results: what these rounds have found; None: read from ``metrics``.
    """

    def __init__(
        self,
        folder: Path,
        metrics: Path,
        after_round: int,
        settings: TensorBoardSettings,
        results: ResultsSoFar | None = None,
    ) -> None:
        from torch.utils.tensorboard import SummaryWriter  # slow to import, and only rank 0 writes

        purge = after_round + 1 if after_round else None
        self._run = SummaryWriter(str(folder), purge_step=purge, flush_secs=5)
        self._results, self._run_settings = results or results_in(metrics), settings
        self._followed = followed_clients(settings.num_clients, settings.byzantine, settings.curves)
        past = read_records(metrics)
        self._trust = Thinned(8 * COLUMNS, ((record.round, record.clients.get("trust")) for record in past))
        self._sides = Thinned(8 * COLUMNS, ((record.round, _sides(record)) for record in past))
        self._laid_out = False
        for name, text in settings.texts.items():
            self._run.add_text(name, "\n".join(f"    {line}" for line in text.splitlines()))
        if settings.images_every:
            self._show("partition", settings.partition, after_round)
        self._start_hparams()

    # One round -----------------------------------------------------------------------------------

    def write(self, record: RoundRecord) -> None:
        round_number, sides = record.round, _sides(record)
        self._results = self._results.after(record)
        groups: dict[str, Mapping[str, Any]] = {
            "accuracy": self._quality(record),
            "validation": {"accuracy": record.validation.get("accuracy")},
            "server": record.server,
            "attack": _parameters(record.attack),
            "times": record.times,
            "recall": self._recalls(record),
            "metrics": record.metrics,
            **{f"clients/{name}": {side: its.mean for side, its in both.items()} for name, both in sides.items()},
            **{f"{SINGLE}/{name}": self._singles(by_client) for name, by_client in record.clients.items()},
        }
        for group, values in groups.items():
            for key, value in values.items():
                _add(self._run, f"{group}/{key}", value, round_number)
        if not self._laid_out:
            self._lay_out(record.clients)
        self._trust.add(round_number, record.clients.get("trust"))
        self._sides.add(round_number, sides)
        if self._run_settings.images_every and (
            round_number % self._run_settings.images_every == 0 or round_number == self._run_settings.rounds
        ):
            self._picture(record)

    def _quality(self, record: RoundRecord) -> dict[str, float | None]:
        best = None if record.quality.accuracy is None else self._results.best_accuracy
        measured = {key: getattr(record.quality, key) for key in QUALITY}
        return {**measured, "best_accuracy": best, "train_loss": record.train_loss}

    def _recalls(self, record: RoundRecord) -> dict[str, float | None]:
        """Recall by class name, if that is wanted."""
        names, values = self._run_settings.class_names, record.quality.per_class_recall
        return dict(zip(names, values, strict=True)) if values is not None and self._run_settings.classes else {}

    def _singles(self, values: Mapping[int, float]) -> dict[str, float]:
        """The values of the clients that are followed; who attacks in some round of the run is Byzantine."""
        byzantine = self._run_settings.byzantine
        followed = {client: value for client, value in values.items() if client in self._followed}
        return {f"{side_of(client, byzantine)}_{client}": value for client, value in followed.items()}

    def _lay_out(self, clients: Collection[str]) -> None:
        """Say which curves belong into one chart of the tab "Custom Scalars"."""
        settings = self._run_settings
        self._run.add_custom_scalars(
            layout(clients, settings.metrics, classes=settings.classes, single=bool(self._followed))
        )
        self._laid_out = True

    # Pictures ------------------------------------------------------------------------------------

    def _picture(self, record: RoundRecord) -> None:
        round_number, confusion = record.round, record.quality.confusion
        if confusion is not None:
            self._show("confusion", confusion_picture(confusion, self._run_settings.class_names), round_number)
        trust = {**self._trust.values, round_number: record.clients.get("trust")}
        if any(trust.values()):
            rounds = evenly(sorted(trust), COLUMNS)
            picture = trust_picture(trust, rounds, self._run_settings.num_clients, self._run_settings.byzantine)
            self._show("trust", picture, round_number)

        sides = {**self._sides.values, round_number: _sides(record)}
        shown = {number: sides[number] for number in evenly(sorted(sides), COLUMNS)}
        for name, curves in curves_of(shown).items():
            self._show(f"honest_against_byzantine/{name}", side_curves(name, curves), round_number)

    def _show(self, tag: str, picture: Any, round_number: int) -> None:
        self._run.add_image(tag, picture, round_number, dataformats="HWC")

    # Hyperparameters and the end -----------------------------------------------------------------

    def _start_hparams(self) -> None:
        from torch.utils.tensorboard.summary import hparams

        # The summary of the experiment is left out: TensorBoard would take the columns of one run for those of all,
        # and could not put first what differs.
        _, start, self._end = hparams(dict(self._run_settings.hparams), {})
        _add_summary(self._run, start)

    def close(self, status: str) -> None:
        if status == "completed":
            _add_summary(self._run, self._end)
        self._run.close()


def _sides(record: RoundRecord) -> Sides:
    return sides_of(record.clients, record.attack.attackers)


def _parameters(record: AttackRecord) -> dict[str, float | None]:
    """The share of Byzantine participants, and what attacks report about their rows, as ``<attack>/<parameter>``."""
    values = {f"{attack}/{key}": value for attack, its in record.parameters.items() for key, value in its.items()}
    return {**values, "share": record.share}


def _add(events: Any, tag: str, value: Any, round_number: int) -> None:
    if value is not None:
        events.add_scalar(tag, value, round_number)


def _add_summary(events: Any, summary: Any) -> None:
    """What SummaryWriter has no method for, in its own file: TensorBoard reads only the last file of a folder on."""
    events.file_writer.add_summary(summary)
