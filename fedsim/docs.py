"""``python -m fedsim.docs`` writes the pages of ``docs/`` that describe what is there; ``--check`` compares them.

Every page comes from the registries, the configuration's schema and stored benchmark readings, so that none
can say what the program does not do. What ``docs/parts`` holds, written by hand, ends the page of its name.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from statistics import median
from typing import Any

from fedsim.systems import require_posix

require_posix()

from fedsim.build.registries import REGISTRIES
from fedsim.config.run import RunConfig
from fedsim.docstrings import blocks, running_text
from fedsim.files import write_text
from fedsim.help_pages import config_keys
from fedsim.parsers import Parser
from fedsim.records.console import print_text
from fedsim.registry import Component, Description, Reference, Setting
from fedsim.standard_streams import keep_standard_streams

DOCS = Path(__file__).resolve().parent.parent / "docs"
NOTE = "<!-- Written by `python -m fedsim.docs`; edits are lost. -->"

PAGES = {
    "aggregators": ("Aggregators", ("aggregators", "pre-aggregators")),
    "attacks": ("Attacks", ("attacks",)),
    "data": ("Data", ("data sets", "partitioners", "augmentations")),
    "models": ("Models", ("models",)),
    "training": ("Training", ("losses", "schedules")),
}

METHODS = frozenset({"aggregators", "pre-aggregators", "attacks"})
"""Kinds whose components get a section each, with the whole docstring; of the others a table says enough."""

NOTATION = """\
K clients take part in a round, H of them honest and B Byzantine. g_k, of D coordinates, is the update of client k:
its gradient or, after several local steps, the global weights minus its own; the server subtracts the step that the
aggregator makes of the updates. f is the number of Byzantine clients that a defence is set to withstand. Formulas are
plain text: ||x|| is the Euclidean norm, and sgn(0) = 0. [ours] marks a choice of this project where the original
leaves one open or cannot be applied as published.
"""


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
        texts[f"{name}.md"] = _page(title, chain(_components(kinds, stored), more))
    return {**texts, "benchmarks.md": _page("Benchmarks", _benchmarks(stored))}


def _page(title: str, lines: Iterable[str]) -> str:
    return "\n".join([NOTE, f"# {title}", "", *lines]).rstrip() + "\n"


def _config() -> Iterator[str]:
    yield "Every key of a config file, also as `dotted.key=value` on the command line. A section that names a"
    yield "component (`data`, `data.partition`, `model`, `attack`, `aggregator`) takes that component's settings too:"
    yield "see [aggregators](aggregators.md), [attacks](attacks.md), [data](data.md), [models](models.md),"
    yield "[training](training.md). The default is what a key has that is not in the config; without `--config`,"
    yield "`configs/quickstart.yaml` is run, which differs from it in `attack` and `aggregator.momentum`."
    yield ""
    yield "| key | default | |"
    yield "|---|---|---|"
    for key, default, text in config_keys(RunConfig):
        yield f"| `{key}` | `{json.dumps(default)}` | {_cell(text)} |"


def _components(kinds: tuple[str, ...], stored: Mapping[str, Any]) -> Iterator[str]:
    if not METHODS.isdisjoint(kinds):
        yield "What each was held against, and how it departs from the original: [fidelity](fidelity.md)."
        yield ""
        yield NOTATION
    for kind in kinds:
        described: Mapping[str, Description] = REGISTRIES[kind].describe()
        if not described:
            continue
        if len(kinds) > 1:
            yield f"## {kind.capitalize()}"
            yield ""
        if kind in METHODS:
            yield from _overview(described, stored.get(kind))
            level = "###" if len(kinds) > 1 else "##"
            for name, description in described.items():
                yield from _section(f"{level} `{name}`", description, _imports(REGISTRIES[kind].get(name)))
        else:
            yield from _table(described)


def _overview(described: Mapping[str, Description], report: Mapping[str, Any] | None) -> Iterator[str]:
    """A line for each method, which links to its section."""
    costs = {reading["name"]: reading["ratio"] for reading in report["readings"]} if report else {}
    yield f"| name | what it does |{' relative cost |' if report else ''}"
    yield f"|---|---|{'---:|' if report else ''}"
    for name, description in described.items():
        cost = f" {_cost(costs.get(name))} |" if report else ""
        yield f"| [`{name}`](#{name}) | {_cell(running_text(description.summary))} |{cost}"
    yield ""
    if report:
        yield f"Relative cost: time in {report['unit']} of the matrix it reads, from [benchmarks](benchmarks.md)."
        yield ""


def _imports(component: type[Component]) -> list[str]:
    """What the example of a docstring takes from its module, as lines in front of it, so that it can be pasted."""
    documentation, module = component.__doc__ or "", vars(sys.modules[component.__module__])
    example = " ".join(line for line in map(str.strip, documentation.splitlines()) if line.startswith((">>>", "...")))
    names = dict.fromkeys(re.findall(r"\w+", example))
    taken = {name: module[name] for name in names if name in module and f"import {name}" not in example}
    torch_first = [">>> import torch"] if "torch" in taken else []
    made = {name: value for name, value in taken.items() if inspect.isclass(value) or inspect.isfunction(value)}
    return torch_first + [f">>> from {value.__module__} import {name}" for name, value in made.items()]


def _section(heading: str, description: Description, imports: list[str]) -> Iterator[str]:
    """One method: its docstring, its settings, its sources."""
    yield heading
    yield ""
    yield from blocks(description.documentation, imports)
    if description.settings:
        yield "| setting | default | meaning |"
        yield "|---|---|---|"
        for key, setting in description.settings.items():
            yield f"| `{key}` | `{json.dumps(setting.default)}` | {_cell(running_text(setting.help))} |"
        yield ""
    if description.references:
        yield "Source:" if len(description.references) == 1 else "Sources:"
        yield ""
        yield from (f"- {_link(reference)}" for reference in description.references)
        yield ""


def _table(described: Mapping[str, Description]) -> Iterator[str]:
    """Components whose line of help says all that there is to say."""
    yield "| name | what it does | settings | source |"
    yield "|---|---|---|---|"
    for name, description in described.items():
        settings = "<br>".join(_setting(key, setting) for key, setting in description.settings.items())
        sources = "<br>".join(_cell(_link(reference)) for reference in description.references)
        yield f"| `{name}` | {_cell(running_text(description.summary))} | {settings} | {sources} |"
    yield ""


def _link(reference: Reference) -> str:
    return f"{reference.authors}: [{reference.title}]({reference.url}). {reference.venue} {reference.year}."


def _setting(key: str, setting: Setting) -> str:
    return f"`{key}={_cell(json.dumps(setting.default))}` {_cell(running_text(setting.help))}"


def _cost(ratio: float | None) -> str:
    return "not measured" if ratio is None else f"{ratio:.1f}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _benchmarks(stored: Mapping[str, Any]) -> Iterator[str]:
    yield "Times are medians, given as ratios to a yardstick that ran in turn with the work in the same process:"
    yield "a copy of the same matrix, or a plain PyTorch loop. Run them yourself: see"
    yield "`python -m fedsim.benchmark --help`."
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
        if (DOCS / "benchmarks" / f"{name}.png").exists():
            yield f"![{report['title']}](benchmarks/{name}.png)"
            yield ""
        memory = report["unit_bytes"] > 0
        yield f"| name | {report['unit']} | median ms | min | max |{' extra memory | kept |' if memory else ''}"
        yield f"|---|---:|---:|---:|---:|{'---:|---:|' if memory else ''}"
        for reading in sorted(report["readings"], key=lambda reading: reading["ratio"] or 0):
            yield _row(reading, report["unit_bytes"])


def _row(reading: Mapping[str, Any], unit_bytes: int) -> str:
    if reading["ratio"] is None:
        return f"| {reading['name'].strip()} | {_cell(reading['problem'])} |"
    times = [1e3 * value for value in reading["seconds"]]
    cells = [f"{reading['ratio']:.2f}", *(f"{value:.1f}" for value in (median(times), min(times), max(times)))]
    if unit_bytes:
        extra = reading["extra_bytes"]
        cells.append("-" if extra is None else f"{extra / unit_bytes:.2f}")
        cells.append(f"{reading.get('kept_bytes', 0) / unit_bytes:.2f}")
    return f"| {reading['name'].strip()} | {' | '.join(cells)} |"


def main(arguments: list[str]) -> int:
    """Exit status: 0 written, or current; 1 with ``--check`` where a page is not current; 2 outside a clone."""
    parser = Parser(prog="python -m fedsim.docs", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a page is not current")
    check = parser.parse_args(arguments).check
    if not DOCS.is_dir():
        sys.stderr.write("fedsim: the pages are not part of the installed package; run this in a clone\n")
        return 2
    stale = []
    for name, text in pages(DOCS / "benchmarks").items():
        path = DOCS / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(name)
            if not check:
                write_text(path, text)
    if stale:
        print_text(f"{'not current' if check else 'written'}: {', '.join(stale)}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    keep_standard_streams()
    sys.exit(main(sys.argv[1:]))
