"""docs/glossary.md lists exactly what runs record: no metric can be added, renamed or removed without it."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from fedsim.aggregators import aggregators, available_aggregators
from fedsim.attacks import available_attacks
from fedsim.evaluation.metrics import metrics
from fedsim.main import main
from support.launch import ROOT

GLOSSARY = ROOT / "docs" / "glossary.md"
FURTHER = [name for name, _ in metrics.describe().items() if metrics.get(name).__module__.startswith("fedsim.")]
TINY = [
    "data={name: synthetic, num_train: 100, num_test: 20, num_classes: 3, shape: [1, 4, 4]}",
    "model={name: mlp, hidden: [4]}",
]
EVERY_METRIC = f"evaluation.metrics=[{', '.join(f'{{name: {name}}}' for name in FURTHER)}]"
METRIC = "evaluation.metrics=[{name: brier}]"
EVERY_PHASE = ["rounds=3", "checkpoint.every=1", "runtime.check_every=1", "data.validation=0.1"]
ATTACK_SETTINGS: Mapping[str, str] = {"fang": ", target: krum", "poisonedfl": ", period: 1"}
"""With these the attack reports everything that it can report."""

NEEDS_TEST_SAMPLES_OF_CLIENTS = {"clients.test_accuracy"}
"""Recorded for data with natural clients only, which these tiny runs do not have."""


def cases() -> Iterator[list[str]]:
    """A run of every aggregator, and one in which every attack has a client of its own and every phase occurs."""
    for aggregator in available_aggregators():
        if not aggregators.get(aggregator).__module__.startswith("fedsim."):
            continue  # of another test
        yield [f"aggregator={{name: {aggregator}}}", "attack={name: alie, num_byzantine: 1}", "clients.count=7"]
    yield [EVERY_METRIC.replace("top_k", "top_k, k: 2"), "attack={name: ipm, num_byzantine: 1}"]
    sections = [
        f"{{name: {name}, clients: [{client}], allow_byzantine_majority: true{ATTACK_SETTINGS.get(name, '')}}}"
        for client, name in enumerate(available_attacks())
    ]
    yield [f"attack=[{', '.join(sections)}]", f"clients.count={len(sections) + 4}", *EVERY_PHASE]


def run(options: Sequence[str], folder: Path) -> Path:
    """The directory of a tiny run."""
    assert main([*TINY, "rounds=2", *options, f"output_dir={folder}", "run_name=run"]) == 0
    return folder / "run"


def documented(heading: str) -> set[str]:
    """The names in the first column of the tables of a section of the glossary."""
    section = GLOSSARY.read_text(encoding="utf-8").split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return set(re.findall(r"^\| `([^`]+)` \|", section, flags=re.MULTILINE))


def covers(pattern: str, name: str) -> bool:
    """Whether a documented name, in which <words> stand for anything, is that of a recorded one."""
    parts = [re.escape(part) for part in re.split(r"<[^>]+>", pattern)]
    return re.fullmatch("[^/.]+".join(parts), name) is not None


def names_in(record: Mapping[str, Any]) -> Iterator[str]:
    """The dotted names of all numbers in a line of metrics.jsonl; client ids are no names."""
    for key, value in record.items():
        if key == "attack":
            yield from (f"attack.{name}" for name in value)
            found = value["parameters"]
            yield from (f"attack.parameters.{attack}.{name}" for attack, its in found.items() for name in its)
        elif isinstance(value, dict):
            yield from (f"{key}.{name}" for name in value)
        else:
            yield key


def test_the_glossary_lists_exactly_what_metrics_hold(tmp_path: Path) -> None:
    entries = documented("metrics.jsonl")
    missing: dict[str, list[str]] = {}
    stale = entries - NEEDS_TEST_SAMPLES_OF_CLIENTS
    for number, case in enumerate(cases()):
        directory = run([*case, "tracking.tensorboard=false"], tmp_path / str(number))
        for line in (directory / "metrics.jsonl").read_text(encoding="utf-8").splitlines():
            for name in names_in(json.loads(line)):
                covering = {entry for entry in entries if covers(entry, name)}
                stale -= covering
                if not covering:
                    missing.setdefault(name, case)
    assert not missing, f"describe these in {GLOSSARY}: {missing}"
    assert not stale, f"nothing records these any more: {sorted(stale)}"


def test_the_glossary_lists_exactly_what_tensorboard_and_the_summary_hold(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    asked = ["tracking.clients=7", "tracking.classes=true"]
    case = [METRIC, "attack={name: alie, num_byzantine: 1}", "clients.count=7", *asked, *EVERY_PHASE]
    directory = run(case, tmp_path)
    events = EventAccumulator(str(directory)).Reload()
    tags = {*events.Tags()["scalars"], *events.Tags()["images"], *events.Tags()["tensors"]}
    shown = {tag for tag in tags if not tag.startswith(("_hparams_", "custom_scalars"))}
    entries = documented("TensorBoard")
    assert {tag for tag in shown if not any(covers(entry, tag) for entry in entries)} == set()
    assert {entry for entry in entries if not any(covers(entry, tag) for tag in shown)} == set()
    summary = json.loads((directory / "summary.json").read_text(encoding="utf-8"))
    assert documented("summary.json") == {*summary, "reason", "stopped_early"}  # of runs that end otherwise


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("server.weight_<name>", "server.weight_krum", True),
        ("server.weight_<name>", "server.weight_", False),
        ("attack/<attack>/<parameter>", "attack/alie/z", True),
        ("attack/<attack>/<parameter>", "attack/share", False),
        ("loss", "train_loss", False),
    ],
)
def test_words_in_brackets_stand_for_one_name(pattern: str, name: str, expected: bool) -> None:
    assert covers(pattern, name) is expected
