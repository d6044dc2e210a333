"""Tests of my_logger.py: pytest test_my_logger.py."""

from pathlib import Path

from fedsim.main import main
from fedsim.plugins import load_plugin
from fedsim.records.loggers import LoggedRun, loggers
from fedsim.records.round_record import Quality, RoundRecord

PLUGIN = Path(__file__).with_name("my_logger.py")
load_plugin(PLUGIN)

DATA = "data={name: synthetic, num_train: 200, num_test: 50, num_classes: 3, shape: [1, 6, 6]}"


def test_it_names_rounds_with_a_low_accuracy(tmp_path: Path) -> None:
    logger = loggers.build("my_logger", below=0.5)
    logger.start(LoggedRun(name="run", directory=tmp_path, settings={}, label="my_logger"))
    for number, accuracy in enumerate([0.4, None, 0.6, float("nan")], 1):
        logger.log(RoundRecord(round=number, quality=Quality(accuracy=accuracy), train_loss=1.0))
    logger.end("completed", {"rounds": 4})
    assert (tmp_path / "alarms.txt").read_text().splitlines() == [
        "round 1: accuracy 0.400",
        "completed after 4 rounds",
    ]


def test_a_run_uses_it_and_a_resumed_one_goes_on(tmp_path: Path) -> None:
    logger = "tracking.loggers=[{name: my_logger, below: 1.0}]"
    options = [DATA, "model={name: mlp}", logger, f"output_dir={tmp_path}", "run_name=run"]
    assert main(["--plugin", str(PLUGIN), *options, "rounds=1"]) == 0
    assert main(["--plugin", str(PLUGIN), *options, "rounds=2", "--resume"]) == 0
    lines = (tmp_path / "run" / "alarms.txt").read_text().splitlines()
    assert [line.split(":")[0] for line in lines] == [
        "round 1",
        "completed after 1 rounds",
        "round 2",
        "completed after 2 rounds",
    ]
