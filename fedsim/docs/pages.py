"""The text of every page of ``docs/`` that fedsim writes.

They come from the registries, the configuration's schema and stored benchmark readings, so that none can say what
the program does not do. What ``docs/parts`` holds, written by hand, ends the page of its name. Tables of experiments,
which ``python -m fedsim.report`` has written, are copied into the pages that name them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from fedsim.benchmark.report import columns
from fedsim.benchmark.scaling_page import scaling_lines
from fedsim.config.run import RunConfig
from fedsim.docs.components import component_lines, escaped
from fedsim.new import TEMPLATES
from fedsim.settings import config_keys

DOCS = Path(__file__).resolve().parents[2] / "docs"

WITH_TABLES = ("../README.md", "results/README.md")
"""Pages written by hand in which ``<!-- table: FILE -->`` and ``<!-- end -->`` hold what a file beside them says."""

NOTE = "<!-- Written by `python -m fedsim.docs`; edits are lost. -->"

PAGES = {
    "aggregators": ("Aggregators", ("aggregators", "pre-aggregators")),
    "attacks": ("Attacks", ("attacks",)),
    "data": ("Data", ("data sets", "partitioners", "augmentations")),
    "models": ("Models", ("models",)),
    "training": ("Training", ("losses", "schedules")),
    "metrics": ("Metrics", ("metrics",)),
    "loggers": ("Loggers", ("loggers",)),
}


def pages(benchmarks: Path) -> dict[str, str]:
    """The text of every generated page by file name.

    Args:
        benchmarks: folder of the JSON files that ``python -m fedsim.benchmark --json`` wrote.
    """
    stored = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(benchmarks.glob("*.json"))}
    texts = {"config.md": _page("Configuration", _config())}
    for name, (title, kinds) in PAGES.items():
        by_hand = DOCS / "parts" / f"{name}.md"
        more = by_hand.read_text(encoding="utf-8").splitlines() if by_hand.exists() else []
        texts[f"{name}.md"] = _page(title, chain(component_lines(kinds, stored), more))
    texts["extending.md"] = _page("Your own components", _with_files(DOCS / "parts" / "extending.md"))
    texts["benchmarks.md"] = _page("Benchmarks", _benchmarks(stored))
    if "scaling" in stored:
        texts["scaling.md"] = _page("Scaling", scaling_lines(stored["scaling"]))
    return {**texts, **{name: with_tables(DOCS / name) for name in WITH_TABLES}}


def with_tables(page: Path) -> str:
    """The text of a page written by hand, each of its tables as its file has it now."""
    text = page.read_text(encoding="utf-8")
    return re.sub(
        r"(?<=<!-- table: )(\S+)( -->\n).*?(?=<!-- end -->)",
        lambda found: f"{found[1]}{found[2]}{(page.parent / found[1]).read_text(encoding='utf-8').strip()}\n",
        text,
        flags=re.DOTALL,
    )


def _page(title: str, lines: Iterable[str]) -> str:
    return "\n".join([NOTE, f"# {title}", "", *lines]).rstrip() + "\n"


def _with_files(page: Path) -> Iterator[str]:
    """A page written by hand, with the templates that it names in their places."""
    for line in page.read_text(encoding="utf-8").splitlines():
        named = re.fullmatch(r"<!-- file: (\w+\.py) -->", line)
        yield from [line] if named is None else ["```python", (TEMPLATES / named[1]).read_text().rstrip(), "```"]


def _config() -> Iterator[str]:
    yield "Every key of a config file, also as `dotted.key=value` on the command line. A section that names a"
    yield "component (`data`, `data.partition`, `model`, `attack`, `aggregator`) takes that component's settings too:"
    yield "see [aggregators](aggregators.md), [attacks](attacks.md), [data](data.md), [models](models.md),"
    yield "[training](training.md), [metrics](metrics.md), [loggers](loggers.md). The default is what a key has that"
    yield "is not in the config; without `--config`, `configs/quickstart.yaml` is run, which differs from it in"
    yield "`attack` and `aggregator.momentum`."
    yield ""
    yield "| key | default | |"
    yield "|---|---|---|"
    for key, default, text in config_keys(RunConfig):
        yield f"| `{key}` | `{json.dumps(default)}` | {escaped(text)} |"


def _benchmarks(stored: Mapping[str, Any]) -> Iterator[str]:
    yield "Times are medians, given as ratios to a yardstick that ran in turn with the work in the same process; each"
    yield "table names its own. CPU time is that of all threads, and of all ranks where several work; a busy machine"
    yield "disturbs it less. Run them yourself: see `python -m fedsim.benchmark --help`."
    yield "Extra memory is the most that was held at once beyond the matrix (for a local step: beyond the model), in"
    yield "units of it; kept is what stays from one round to the next, the method's history."
    for name, report in stored.items():
        yield ""
        where = f", {report['machine']['gpu']}" if report["machine"].get("gpu") else ""
        yield f"## {report['title'][:1].upper()}{report['title'][1:]}{where}"
        yield ""
        yield f"`{report['command']}`"
        yield ""
        yield f"{report['machine']['words']}"
        yield ""
        if report["machine"].get("warning"):
            yield f"**{report['machine']['warning']}**"
            yield ""
        yield f"Yardstick: {report['yardstick']}."
        yield ""
        if (DOCS / "benchmarks" / f"{name}.png").exists():
            yield f"![{report['title']}](benchmarks/{name}.png)"
            yield ""
        for note in report.get("notes", ()):
            yield f"{note}"
            yield ""
        heads, rows = columns(report["unit"], report["unit_bytes"], report["readings"])
        yield f"| {' | '.join(heads)} |"
        yield f"|---|{'---:|' * (len(heads) - 1)}"
        yield from (f"| {' | '.join(escaped(cell.strip()) for cell in row)} |" for row in rows)
