"""The report as a page and as files."""

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image

from fedsim.report.__main__ import main
from fedsim.report.exhibits import exhibits
from fedsim.report.page import _write_numbers, write_report
from fedsim.report.scores import Score
from fedsim.report.study import read_study
from support.recorded_runs import recorded_run, recorded_sweep

EVIL = "<script>alert(1)</script>"


def sweep(folder: Path) -> Path:
    """Two aggregators under two attacks on three seeds; one cell has failed, one has diverged, one has not run."""
    cells: list[dict[str, Any]] = []
    for a, aggregator in enumerate(["fedavg", EVIL]):
        for b, attack in enumerate(["none", "alie z=1"]):
            for seed in range(3):
                run = recorded_run(folder / f"{a}{b}{seed}", [0.1, 0.5 + 0.1 * a + 0.01 * seed], [f"seed={seed}"])
                place = {"attack": attack, "aggregator": aggregator, "seed": str(seed)}
                cells.append({**place, "directory": str(run)})
    cells[0] |= {"state": "failed", "reason": f"rank 0 failed: {EVIL}"}
    cells[4] |= {"state": "diverged"}
    cells[8] |= {"state": "pending", "directory": "nowhere"}
    return recorded_sweep(folder, cells)


class Links(HTMLParser):
    """What a page refers to, and its anchors."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.outside: list[str] = []
        self.inside: list[str] = []
        self.anchors: set[str] = set()
        self.tags: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name in ("src", "href") and value is not None:
                (self.inside if value.startswith("#") else self.outside).append(value)
            if name == "id" and value is not None:
                self.anchors.add(value)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = sweep(tmp_path_factory.mktemp("sweeps") / "grid")
    assert main([str(folder)]) == 0
    return folder / "report"


def test_the_page_needs_nothing_else(report: Path) -> None:
    page = Links((report / "report.html").read_text())
    assert page.outside
    assert all(source.startswith("data:image/png;base64,") for source in page.outside)


def test_every_number_of_the_table_leads_to_its_commands(report: Path) -> None:
    text = (report / "report.html").read_text()
    page = Links(text)
    assert len(page.inside) == 2 * 3  # attacks and the worst case, of two aggregators
    assert {link[1:] for link in page.inside} <= page.anchors
    for link in re.findall(r'<a href="#run-\d+" title="([^"]*)"', text):
        assert link.count("python fedsim/main.py --config") in (2, 3)
    assert len(re.findall(r"<code>python fedsim/main.py --config", text)) == 11


def test_names_are_no_html(report: Path) -> None:
    text = (report / "report.html").read_text()
    assert "script" not in Links(text).tags
    assert "&lt;script&gt;" in text


def test_states_are_said(report: Path) -> None:
    text = (report / "report.html").read_text()
    for state in ("1 failed", "1 diverged", "1 pending"):
        assert state in text
    assert "rank 0 failed" in text


def test_everything_lies_beside_it_as_files(report: Path) -> None:
    figures = {path.name for path in (report / "figures").iterdir()}
    assert {"heat-map.png", "heat-map.pdf", "curves-accuracy.png", "costs.pdf"} <= figures
    assert {path.name for path in (report / "tables").iterdir()} >= {
        "table.csv",
        "table.tex",
        "table.md",
        "costs.csv",
    }
    for path in (report / "figures").glob("*.png"):
        with Image.open(path) as picture:
            assert min(picture.size) > 100
        assert path.with_suffix(".pdf").read_bytes().startswith(b"%PDF")


def test_the_same_runs_give_the_same_report(report: Path, tmp_path: Path) -> None:
    assert main([str(report.parent), "--to", str(tmp_path)]) == 0
    for path in report.rglob("*.*"):
        same = tmp_path / path.relative_to(report)
        left, right = path.read_bytes(), same.read_bytes()
        if path.name == "report.html":  # it says how it was made
            left, right = (re.sub(rb"Made by <code>.*</code>", b"", content) for content in (left, right))
        assert left == right, path


def test_comparisons_are_numbers_too(tmp_path: Path) -> None:
    for place, aggregator in enumerate(["fedavg", "cwmed"]):
        for seed in range(3):
            words = [f"aggregator.name={aggregator}", f"seed={seed}"]
            recorded_run(tmp_path / f"{aggregator}{seed}", [0.5 + 0.2 * place + 0.01 * seed], words)
    first = next(exhibits(read_study([tmp_path]), Score()))
    _write_numbers(first, tmp_path)
    (row,) = pd.read_csv(tmp_path / "comparisons-data-mnist5k.csv").to_dict("records")
    assert (row["first"], row["second"], row["repeats"]) == ("cwmed", "fedavg", 3)
    assert row["difference"] == pytest.approx(0.2)
    assert row["adjusted"] == row["p"]  # one comparison needs no correction


def test_one_run_has_a_report(tmp_path: Path) -> None:
    run = recorded_run(tmp_path / "run", [0.5, 0.6])
    assert main([str(run), "--metric", "loss", "--at", "best"]) == 0
    text = (run / "report" / "report.html").read_text()
    assert "0.400" in text
    assert "one seed" in text


def test_runs_without_a_round_have_a_report(tmp_path: Path) -> None:
    recorded_run(tmp_path / "run", [], status="failed", reason="no memory")
    assert main([str(tmp_path)]) == 0
    assert "no memory" in (tmp_path / "report" / "report.html").read_text()


def test_mistakes_are_sentences(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run = recorded_run(tmp_path / "run", [0.5])
    for arguments, sentence in {
        (str(tmp_path / "nowhere"),): "holds neither a run nor a sweep",
        (str(run), "--metric", "acuracy"): "did you mean 'accuracy'",
        (str(run), "--at", "end"): "--at: 'end'",
        (str(run), "--to", "/dev/null/x"): "the report cannot be written: /dev/null/x",
    }.items():
        assert main(list(arguments)) == 2
        (line,) = capfd.readouterr().err.splitlines()
        assert sentence in line


@pytest.mark.parametrize(("better", "marked"), [([0.8, 0.9], False), ([0.9, 0.8], True)])
def test_a_sweep_of_one_aggregator_has_the_labels_of_its_other_axis_as_rows(
    tmp_path: Path, better: list[float], marked: bool
) -> None:
    """The second rate is better by 0.2 and 0.4, which may be noise, or by 0.3 on both seeds."""
    cells = []
    for rate, accuracies in {"0.1": [0.6, 0.5], "0.2": better}.items():
        for seed, accuracy in enumerate(accuracies):
            directory = str(recorded_run(tmp_path / f"{rate}-{seed}", [accuracy], [f"seed={seed}"]))
            cells.append({"clients.optimizer.lr": rate, "seed": str(seed), "directory": directory})
    assert main([str(recorded_sweep(tmp_path, cells))]) == 0
    lines = (tmp_path / "report" / "tables" / "table.md").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "| clients.optimizer.lr | score |"
    assert [line.replace("\N{NO-BREAK SPACE}", " ") for line in lines[2:4]] == [
        "| 0.1 | 0.550 ± 0.071 |",
        f"| 0.2 | {'**0.850**' if marked else '0.850'} ± 0.071 |",
    ]
    assert ("Bold and underlined" in lines[5], "No number is better" in lines[5]) == (marked, not marked)
    assert (tmp_path / "report" / "figures" / "against-clients.optimizer.lr.png").is_file()


def test_labels_that_give_one_file_name_have_a_file_each(tmp_path: Path) -> None:
    """The last table was written over the others; a disk may know no capital letters."""
    cells = []
    for number, label in enumerate(("lr 0.1", "lr-0.1", "LR 0.1")):
        run = recorded_run(tmp_path / "grid" / str(number), [0.5])
        cells.append(
            {"schedule": label, "attack": "none", "aggregator": "fedavg", "seed": "0", "directory": str(run)}
        )
        cells.append({**cells[-1], "aggregator": "cwtm"})
    study = read_study([recorded_sweep(tmp_path / "grid", cells)])
    write_report(study, Score(), tmp_path / "report", "typed")
    tables = {path.name.lower() for path in (tmp_path / "report" / "tables").glob("table*.md")}
    assert tables == {"table-schedule-lr-0.1.md", "table-schedule-lr-0.1-2.md", "table-schedule-lr-0.1-3.md"}


def test_a_damaged_file_of_a_run_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = recorded_run(tmp_path / "run", [0.5])
    picture, config = run / "partition.png", run / "config.yaml"
    assert main([str(run), "--metric", "round"]) == 2
    assert "no run has 'round'" in capsys.readouterr().err
    picture.write_bytes(b"bad")
    assert main([str(run)]) == 2
    assert f"{picture} is damaged; remove it" in capsys.readouterr().err
    config.write_text("")
    assert main([str(run)]) == 2
    assert f"{config} is damaged: the settings of the run are not in it" in capsys.readouterr().err
