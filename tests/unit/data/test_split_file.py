"""The split that a run keeps."""

from pathlib import Path

import pytest
import torch

from fedsim.data.split_file import read_split, samples_by_class, save_or_check_split
from fedsim.errors import ConfigError
from support.partitions import LABELS, as_lists, split, table


def test_a_resumed_run_must_have_its_split(tmp_path: Path) -> None:
    shares = split("iid", LABELS, 7, tmp_path)
    save_or_check_split(tmp_path, shares, LABELS)
    before = (tmp_path / "partition.json").read_bytes()
    save_or_check_split(tmp_path, shares, LABELS)
    moved = [shares[0][1:], torch.cat([shares[0][:1], shares[1]]).sort().values, *shares[2:]]
    changed = LABELS.clone()
    changed[0] += 1
    for other, labels in ((moved, LABELS), (shares, changed), (shares[:-1], LABELS), (shares[::-1], LABELS)):
        with pytest.raises(ConfigError, match="not those that") as caught:
            save_or_check_split(tmp_path, other, labels)
        assert caught.value.key == "--resume"
    assert (tmp_path / "partition.json").read_bytes() == before
    assert read_split(tmp_path / "partition.json")["clients"] == as_lists(shares)


def test_a_resumed_run_with_a_damaged_split_is_refused(tmp_path: Path) -> None:
    (tmp_path / "partition.json").write_text('{"clients": [[0, 1')
    with pytest.raises(ConfigError, match=r"partition\.json"):
        save_or_check_split(tmp_path, [torch.arange(997)], LABELS)


def test_samples_by_class_add_up(tmp_path: Path) -> None:
    shares = split("dirichlet", LABELS, 7, tmp_path, alpha=0.1)
    counts = samples_by_class(LABELS, shares, 12)
    assert counts == table(LABELS, shares, 12).tolist()
    assert [sum(row) for row in counts] == [len(share) for share in shares]
    assert [sum(column) for column in zip(*counts, strict=True)] == torch.bincount(LABELS, minlength=12).tolist()
    assert samples_by_class(LABELS, [torch.tensor([], dtype=torch.int64)], 3) == [[0, 0, 0]]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_split_that_an_editor_saved_is_read(encoding: str, tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text('{"clients": [[0], [1]]}', encoding=encoding)
    assert read_split(tmp_path / "mine.json")["clients"] == [[0], [1]]


def test_a_split_with_a_key_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text('{"clients": [[0], [1]], "samples": 2, "clients": [[0, 1]]}')
    with pytest.raises(ConfigError, match="'clients' is there twice"):
        read_split(tmp_path / "mine.json")
