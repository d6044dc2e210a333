"""TensorBoard events of a run.

A run has two runs inside, ``honest`` and ``byzantine``: TensorBoard gives each a colour, so that any chart
of clients separates the two sides at a glance.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fedsim.records.pictures import Picture, confusion_picture, trust_picture
from fedsim.records.round_record import AttackRecord, RoundRecord
from fedsim.records.summary import ResultsSoFar, results_in
from fedsim.records.thinned import Thinned
from fedsim.records.writers import RecordWriter, read_records

ACCURACIES = ("accuracy", "balanced_accuracy", "macro_f1", "worst_client_accuracy", "mean_client_accuracy")

QUALITY = (*ACCURACIES, "loss")

RECALL_CURVES = 20
"""More classes than this get no curves of their own; metrics.jsonl has the recall of all."""

SINGLE = "zoom_in_on_clients"
"""Group of the curves of single clients; TensorBoard sorts groups by name, and these should come last."""

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
        images_every: rounds between images (0: none).
        rounds: of the whole run.
        texts: named texts to show, for example the configuration.
        hparams: what distinguishes this run from its neighbours, for the table of hyperparameters.
    """

    byzantine: Collection[int]
    num_clients: int
    partition: Picture
    class_names: Sequence[str]
    curves: int
    images_every: int
    rounds: int
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
        self._run, self._honest, self._byzantine = (
            SummaryWriter(str(path), purge_step=purge, flush_secs=5)
            for path in (folder, folder / "honest", folder / "byzantine")
        )
        self._results, self._run_settings = results or results_in(metrics), settings
        self._followed = followed_clients(settings.num_clients, settings.byzantine, settings.curves)
        rounds = ((record.round, record.clients.get("trust")) for record in read_records(metrics))
        self._trust = Thinned(8 * COLUMNS, rounds)
        self._laid_out = False
        for name, text in settings.texts.items():
            self._run.add_text(name, "\n".join(f"    {line}" for line in text.splitlines()))
        if settings.images_every:
            self._show("data/partition", settings.partition, after_round)
        self._start_hparams()

    # One round -----------------------------------------------------------------------------------

    def write(self, record: RoundRecord) -> None:
        round_number = record.round
        self._results = self._results.after(record)
        groups: dict[str, Mapping[str, Any]] = {
            "accuracy": {**{key: getattr(record.quality, key) for key in QUALITY}, "train_loss": record.train_loss},
            "server": record.server,
            "attack": _parameters(record.attack),
            "times": record.times,
            "recall": self._recalls(record),
        }
        for group, values in groups.items():
            for key, value in values.items():
                _add(self._run, f"{group}/{key}", value, round_number)
        for name, by_client in record.clients.items():
            self._add_sides(name, by_client, record.attack.attackers, round_number)
        if not self._laid_out:
            self._lay_out(groups, record.clients)
        self._trust.add(round_number, record.clients.get("trust"))
        if self._run_settings.images_every and (
            round_number % self._run_settings.images_every == 0 or round_number == self._run_settings.rounds
        ):
            self._picture(record)

    def _recalls(self, record: RoundRecord) -> dict[str, float | None]:
        """Recall by class name, where there are few classes."""
        names, values = self._run_settings.class_names, record.quality.per_class_recall
        return dict(zip(names, values, strict=True)) if values is not None and len(names) <= RECALL_CURVES else {}

    def _add_sides(
        self, name: str, values: Mapping[int, float], attackers: Collection[int], round_number: int
    ) -> None:
        """The mean of each side of this round, and the curves of the clients that are followed."""
        sides: dict[bool, list[float]] = {False: [], True: []}
        for client, value in values.items():
            sides[client in attackers].append(value)
            if client in self._followed:
                ever_hostile = client in self._run_settings.byzantine
                _add(
                    self._byzantine if ever_hostile else self._honest,
                    f"{SINGLE}/{name}/client_{client}",
                    value,
                    round_number,
                )
        for hostile, events in ((False, self._honest), (True, self._byzantine)):
            finite = [value for value in sides[hostile] if math.isfinite(value)]
            if finite:
                _add(events, f"clients/{name}", sum(finite) / len(finite), round_number)

    # Charts --------------------------------------------------------------------------------------

    def _lay_out(self, groups: Mapping[str, Mapping[str, Any]], clients: Mapping[str, Any]) -> None:
        """Arrange, for the tab "Custom Scalars" which curves belong together."""
        layout = {
            "accuracy": {
                "accuracy": ["Multiline", [f"accuracy/{name}" for name in ACCURACIES]],
                **({"recall of each class": ["Multiline", ["recall/.*"]]} if groups["recall"] else {}),
                "loss": ["Multiline", ["accuracy/loss", "accuracy/train_loss"]],
            },
            "server": {key: ["Multiline", [f"server/{key}$"]] for key in groups["server"]},
            "clients, honest against Byzantine": {
                name: ["Multiline", [f"clients/{name}$", *([f"^{SINGLE}/{name}/client_"] if self._followed else [])]]
                for name in clients
            },
            "attack": {
                **{key: ["Multiline", [f"attack/{key}$"]] for key in groups["attack"]},
                "whatever attacks have found, later ones too": ["Multiline", ["attack/.+/.+"]],
            },
            "times": {"seconds per phase": ["Multiline", ["times/.*"]]},
        }
        self._run.add_custom_scalars({category: charts for category, charts in layout.items() if charts})
        self._laid_out = True

    # Pictures ------------------------------------------------------------------------------------

    def _picture(self, record: RoundRecord) -> None:
        round_number, confusion = record.round, record.quality.confusion
        if confusion is not None:
            self._show(
                "accuracy/confusion", confusion_picture(confusion, self._run_settings.class_names), round_number
            )
        trust = {**self._trust.values, round_number: record.clients.get("trust")}
        if any(trust.values()):
            rounds = evenly(sorted(trust), COLUMNS)
            picture = trust_picture(trust, rounds, self._run_settings.num_clients, self._run_settings.byzantine)
            self._show("clients/trust", picture, round_number)

    def _show(self, tag: str, picture: Any, round_number: int) -> None:
        self._run.add_image(tag, picture, round_number, dataformats="HWC")

    # Hyperparameters and the end -----------------------------------------------------------------

    def _start_hparams(self) -> None:
        from torch.utils.tensorboard.summary import hparams

        final = dict.fromkeys(("final/accuracy", "final/best_accuracy", "final/loss"), 0.0)
        experiment, start, self._end = hparams(dict(self._run_settings.hparams), final)
        for summary in (experiment, start):
            _add_summary(self._run, summary)

    def close(self, status: str) -> None:
        results = self._results
        final = {
            "accuracy": results.final_accuracy,
            "best_accuracy": results.best_accuracy,
            "loss": results.final_loss,
        }
        for name, value in final.items():
            _add(self._run, f"final/{name}", value, results.rounds)
        if status == "completed":
            _add_summary(self._run, self._end)
        for events in (self._run, self._honest, self._byzantine):
            events.close()


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


def _settings(section: Mapping[str, Any]) -> str:
    """The settings of a component that are set at all, in a line."""
    plain = {key: value for key, value in section.items() if key not in ("name", "partition", "root")}
    own = {key: value for key, value in plain.items() if value is not None and value is not False and value != []}
    return ", ".join(f"{key}={value}" for key, value in own.items())


def hparams_of(resolved: Mapping[str, Any]) -> Iterator[tuple[str, str | float]]:
    """What distinguishes runs, under the same names in all of them, so that their table has no holes.

    Args:
        resolved: the configuration as written to ``config.yaml``.
    """
    for section in ("data", "model", "attack", "aggregator"):
        held = resolved[section]
        parts = held if isinstance(held, list) else [held]
        yield section, " + ".join(part["name"] for part in parts) or "none"
        yield f"{section} settings", "; ".join(map(_settings, parts))
    partition = resolved["data"]["partition"]
    yield "partition", " ".join([partition["name"], *(f"{k}={v}" for k, v in partition.items() if k != "name")])
    yield "clients", resolved["clients"]["count"]
    yield "client lr", float(resolved["clients"]["optimizer"].get("lr", "nan"))
    yield "seed", resolved["seed"]
