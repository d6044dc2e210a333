"""The table of rounds, read back by Python's own reader and by pandas."""

import csv
from pathlib import Path
from typing import Any

import pandas as pd

from fedsim.records.loggers import LoggedRun, loggers
from fedsim.records.round_record import RoundRecord
from support.fake_loggers import a_record, expected_numbers


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def written(folder: Path, *records: RoundRecord, label: str = "csv", **settings: Any) -> list[dict[str, str]]:
    logger = loggers.build("csv", **settings)
    logger.start(LoggedRun(name="run", directory=folder, settings={}, label=label))
    for record in records:
        logger.log(record)
    return rows_of(folder / f"{label.replace('csv', 'metrics')}.csv")


def test_a_row_per_round_has_the_finite_numbers_and_empty_cells_for_the_others(tmp_path: Path) -> None:
    rows = written(tmp_path, a_record(1), a_record(2))
    assert len(rows) == 2
    for number, row in enumerate(rows, 1):
        assert {name: float(text) for name, text in row.items() if text} == expected_numbers(number)
    assert {"loss", "train_loss", "server.detection_auc", "macro_f1"} <= set(rows[0])
    assert not [name for name in rows[0] if name.startswith("clients.")]
    assert pd.read_csv(tmp_path / "metrics.csv")["loss"].isna().all()


def test_numbers_of_clients_are_there_if_they_are_asked_for(tmp_path: Path) -> None:
    (row,) = written(tmp_path, a_record(1), clients=True)
    assert (row["clients.trust.0"], row["clients.trust.7"]) == ("1.0", "0.25")


def test_a_number_that_comes_up_later_has_a_column_and_earlier_rounds_keep_theirs(tmp_path: Path) -> None:
    odd = 'of "cats", dogs'
    rows = written(tmp_path, a_record(1), a_record(2, metrics={odd: 1 / 3}), a_record(3))
    assert [row[f"metrics.{odd}"] for row in rows] == ["", repr(1 / 3), ""]
    assert [row["round"] for row in rows] == ["1", "2", "3"]
    assert [row["accuracy"] for row in rows] == ["0.1", "0.2", "0.3"]


def test_it_starts_over_and_a_second_one_has_a_file_of_its_own(tmp_path: Path) -> None:
    written(tmp_path, a_record(1), a_record(2))
    assert len(written(tmp_path, a_record(1))) == 1
    written(tmp_path, a_record(5), label="csv_2")
    found = [[row["round"] for row in rows_of(tmp_path / name)] for name in ("metrics.csv", "metrics_2.csv")]
    assert found == [["1"], ["5"]]
