"""What is known after a round, as one frozen object; docs/glossary.md defines every value."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

VALIDATION = ("accuracy", "loss", "balanced_accuracy")
"""What is recorded of the validation samples."""

NOT_IN_EVERY_RUN = ("validation", "metrics")
"""Keys that a line has only where there is something in them."""

ByClient = Mapping[int, float]
"""A number of each client, by its id."""


@dataclass(frozen=True, kw_only=True)
class Quality:
    """Quality of the global model on the test samples; everything is None in a round without evaluation.

    Attributes:
        per_class_recall: of each of the C classes.
        confusion: counts [C, C], row = true class, column = prediction; None for many classes.
    """

    accuracy: float | None = None
    balanced_accuracy: float | None = None
    macro_f1: float | None = None
    worst_client_accuracy: float | None = None
    mean_client_accuracy: float | None = None
    loss: float | None = None
    per_class_recall: Sequence[float | None] | None = None
    confusion: Sequence[Sequence[int]] | None = None


@dataclass(frozen=True, kw_only=True)
class AttackRecord:
    """Who attacked in a round.

    Attributes:
        share: of the participants that attacked.
        attackers: the attack of each of them, by client id.
        parameters: what each attack reports about its rows, by its name.
    """

    share: float | None = None
    attackers: Mapping[int, str] = field(default_factory=dict)
    parameters: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class RoundRecord:
    """One round of a run: a line of ``metrics.jsonl``.

    Attributes:
        round: its number, from 1.
        validation: :data:`VALIDATION` of the global model on the validation samples (``data.validation``); a line
            without any has no such key.
        train_loss: mean over the clients that trained.
        server: named numbers about the aggregate and the step.
        clients: named numbers of each client.
        nonfinite_clients: ids of the clients whose rows contained NaN or infinity.
        metrics: values of the run's further metrics (``evaluation.metrics``); a line without any has no such key.
        times: seconds of each phase.

    >>> record = RoundRecord(round=1, quality=Quality(accuracy=0.5), train_loss=2.0)
    >>> record.to_dict()["accuracy"], RoundRecord.from_dict(record.to_dict()) == record
    (0.5, True)
    """

    round: int
    quality: Quality = field(default_factory=Quality)
    validation: Mapping[str, float | None] = field(default_factory=dict)
    train_loss: float | None
    server: Mapping[str, float | None] = field(default_factory=dict)
    clients: Mapping[str, ByClient] = field(default_factory=dict)
    attack: AttackRecord = field(default_factory=AttackRecord)
    nonfinite_clients: Sequence[int] = ()
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    times: Mapping[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain values as they are written to a line; the quality's lie beside the round's own."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        for name in NOT_IN_EVERY_RUN:
            if not values[name]:
                del values[name]
        return {
            "round": values.pop("round"),
            **asdict(values.pop("quality")),
            **values,
            "attack": asdict(self.attack),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> RoundRecord:
        """The record of a line.

        Raises:
            KeyError, TypeError, ValueError, AttributeError: it is no such line.
        """
        attack = values.get("attack", {})
        quality = {name: values.get(name) if name in OF_CLASSES else _number(values.get(name)) for name in QUALITY}
        return cls(
            round=_round(values["round"]),
            quality=Quality(**quality),
            validation=_numbers(values.get("validation", {})),
            train_loss=_number(values.get("train_loss")),
            server=dict(values.get("server", {})),
            clients={name: _by_client(its) for name, its in values.get("clients", {}).items()},
            attack=AttackRecord(**{**attack, "attackers": _by_client(attack.get("attackers", {}))}),
            nonfinite_clients=values.get("nonfinite_clients", ()),
            metrics=_numbers(values.get("metrics", {})),
            times=_numbers(values.get("times", {})),
        )


QUALITY = [item.name for item in fields(Quality)]

OF_CLASSES = ("per_class_recall", "confusion")


def _round(value: Any) -> int:
    if type(value) is not int or value < 1:
        raise ValueError(f"{value!r} is no number of a round")
    return value


def _number(value: Any) -> Any:
    """A finite number, or None, as which a line holds NaN and infinity."""
    if value is not None and (isinstance(value, bool) or not math.isfinite(value)):
        raise ValueError(f"{value!r} is no finite number")
    return value


def _numbers(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _number(value) for name, value in values.items()}


def _by_client(values: Mapping[Any, Any]) -> dict[int, Any]:
    """JSON has text keys only."""
    return {int(client): value for client, value in values.items()}
