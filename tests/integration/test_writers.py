"""A run on FEMNIST in which each writer is a client."""

import json
from pathlib import Path

import pytest

from fedsim.main import main
from support.published_images import write_femnist


@pytest.mark.usefixtures("cache")
def test_each_writer_is_a_client_with_tests_of_its_own(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    written = write_femnist(tmp_path / "data")
    options = ["data.name=femnist", f"data.root={tmp_path / 'data'}", "data.partition={name: natural}"]
    options += ["model={name: small_cnn, width: 4, hidden: 8}", "clients.batch_size=4", "rounds=1"]
    options += ["attack=[]", "tracking.tensorboard=false", f"output_dir={tmp_path}", "run_name=run"]
    assert main([*options, "clients.count=4", "--check"]) == 0
    assert main([*options, "clients.count=4"]) == 0
    (record,) = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    accuracy = record["clients"]["test_accuracy"]
    for client, name in enumerate(sorted(written["test"])):
        tests = len(written["test"][name][1])
        assert accuracy[str(client)] * tests == pytest.approx(round(accuracy[str(client)] * tests))
    split = json.loads((tmp_path / "run" / "partition.json").read_text())["clients"]
    assert [len(indices) for indices in split] == [
        len(written["train"][name][1]) for name in sorted(written["train"])
    ]
    capfd.readouterr()
    assert main([*options, "clients.count=5", "--check"]) == 2  # the files have been read by now
    assert "clients.count: 5, but the data have 4: f0000_14, f0001_41, f1022_09, f3999_00" in capfd.readouterr().err
