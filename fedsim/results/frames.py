"""The records of a run as tidy data frames: a row is one observation, a column one variable."""

from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from fedsim.records.flat_numbers import numbers_of
from fedsim.records.round_record import RoundRecord

ROUND, CLIENT, ATTACK = "round", "client", "attack"


def metrics_frame(records: Sequence[RoundRecord]) -> pd.DataFrame:
    """A row per round: everything that is one number of it, under the names of ``metrics.jsonl``.

    >>> record = RoundRecord(round=1, train_loss=2.0, server={"step_norm": 0.5}, times={"gather": 0.1})
    >>> frame = metrics_frame([record])
    >>> frame["server.step_norm"].tolist(), frame["times.gather"].tolist()
    ([0.5], [0.1])
    """
    return _frame(map(numbers_of, records), [ROUND])


def clients_frame(records: Sequence[RoundRecord]) -> pd.DataFrame:
    """A row per round and client that took part: its numbers, and ``attack``, the attack by which its row was made.

    ``attack`` is missing for a client that was honest in this round; ``byzantine`` says the same as a truth value.

    >>> from fedsim.records.round_record import AttackRecord
    >>> attack = AttackRecord(share=0.5, attackers={1: "alie"})
    >>> record = RoundRecord(round=1, train_loss=2.0, clients={"update_norm": {0: 1.0, 1: 9.0}}, attack=attack)
    >>> clients_frame([record])[["client", "byzantine", "update_norm"]].values.tolist()
    [[0, False, 1.0], [1, True, 9.0]]
    """
    return _frame(
        (row for record in records for row in _rows_of_clients(record)), [ROUND, CLIENT, ATTACK, "byzantine"]
    )


def attacks_frame(records: Sequence[RoundRecord]) -> pd.DataFrame:
    """A row per round and attack that acted: who attacked, and the parameters that the attack reports.

    >>> from fedsim.records.round_record import AttackRecord
    >>> attack = AttackRecord(share=0.5, attackers={2: "alie", 1: "alie"}, parameters={"alie": {"z": 0.7}})
    >>> attacks_frame([RoundRecord(round=1, train_loss=2.0, attack=attack)]).values.tolist()
    [[1, 'alie', (1, 2), 0.7]]
    """
    return _frame((row for record in records for row in _rows_of_attacks(record)), [ROUND, ATTACK, "clients"])


def classes_frame(records: Sequence[RoundRecord]) -> pd.DataFrame:
    """A row per evaluated round and class: the class's recall.

    >>> from fedsim.records.round_record import Quality
    >>> record = RoundRecord(round=2, quality=Quality(per_class_recall=[1.0, 0.5]), train_loss=1.0)
    >>> classes_frame([record]).values.tolist()
    [[2.0, 0.0, 1.0], [2.0, 1.0, 0.5]]
    """
    rows = (
        {ROUND: record.round, "class": label, "recall": recall}
        for record in records
        for label, recall in enumerate(record.quality.per_class_recall or ())
    )
    return _frame(rows, [ROUND, "class", "recall"])


def _frame(rows: Iterable[dict[str, Any]], first: Sequence[str]) -> pd.DataFrame:
    """The rows, with these columns first, which are there even if there is no row."""
    frame = pd.DataFrame(list(rows))
    frame = frame.reindex(columns=[*first, *(name for name in frame.columns if name not in first)])
    kinds = {ROUND: int, CLIENT: int, "class": int, "byzantine": bool}
    return frame.astype({name: kind for name, kind in kinds.items() if name in frame})


def _rows_of_clients(record: RoundRecord) -> Iterable[dict[str, Any]]:
    attackers = record.attack.attackers
    for client in sorted({*attackers, *(client for values in record.clients.values() for client in values)}):
        numbers = {name: values.get(client) for name, values in record.clients.items()}
        attack = attackers.get(client)
        yield {ROUND: record.round, CLIENT: client, ATTACK: attack, "byzantine": attack is not None, **numbers}


def _rows_of_attacks(record: RoundRecord) -> Iterable[dict[str, Any]]:
    attackers = record.attack.attackers
    for attack in dict.fromkeys(attackers.values()):
        clients = tuple(sorted(client for client, name in attackers.items() if name == attack))
        yield {ROUND: record.round, ATTACK: attack, "clients": clients, **record.attack.parameters.get(attack, {})}
