"""What the pages say about the components of a kind: a section each, or a line of a table."""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from fedsim.build.registries import REGISTRIES
from fedsim.docs.docstrings import blocks, running_text
from fedsim.docs.partition_pictures import picture_lines
from fedsim.registry import Component, Description, Reference, Setting

PARTITIONS = "images/partitions"
"""Folder of the partitioners' pictures, from that of the pages."""

METHODS = frozenset({"aggregators", "pre-aggregators", "attacks"})
"""Kinds whose components get a section each, with the whole docstring; of the others a table says enough."""

NOTATION = """\
K clients take part in a round, H of them honest and B Byzantine. g_k, of D coordinates, is the update of client k:
its gradient or, after several local steps, the global weights minus its own; the server subtracts the step that the
aggregator makes of the updates. f is the number of Byzantine clients that a defence is set to withstand. Formulas are
plain text: ||x|| is the Euclidean norm, and sgn(0) = 0. [ours] marks a choice of this project where the original
leaves one open or cannot be applied as published.
"""


def component_lines(kinds: tuple[str, ...], stored: Mapping[str, Any]) -> Iterator[str]:
    """The lines about all components of these kinds.

    Args:
        stored: readings of benchmarks by their name; costs are from those of a kind's name.
    """
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
        if kind == "partitioners":
            yield from picture_lines(PARTITIONS)


def _overview(described: Mapping[str, Description], report: Mapping[str, Any] | None) -> Iterator[str]:
    """A line for each method, which links to its section."""
    costs = {reading["name"]: reading["ratio"] for reading in report["readings"]} if report else {}
    yield f"| name | what it does |{' relative cost |' if report else ''}"
    yield f"|---|---|{'---:|' if report else ''}"
    for name, description in described.items():
        cost = f" {_cost(costs.get(name))} |" if report else ""
        yield f"| [`{name}`](#{name}) | {escaped(running_text(description.summary))} |{cost}"
    yield ""
    if report:
        yield f"Relative cost ([benchmarks](benchmarks.md)): time in units of {report['yardstick']}."
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
            yield f"| `{key}` | `{json.dumps(setting.default)}` | {escaped(running_text(setting.help))} |"
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
        sources = "<br>".join(escaped(_link(reference)) for reference in description.references)
        yield f"| `{name}` | {escaped(running_text(description.summary))} | {settings} | {sources} |"
    yield ""


def _link(reference: Reference) -> str:
    return f"{reference.authors}: [{reference.title}]({reference.url}). {reference.venue} {reference.year}."


def _setting(key: str, setting: Setting) -> str:
    return f"`{key}={escaped(json.dumps(setting.default))}` {escaped(running_text(setting.help))}"


def _cost(ratio: float | None) -> str:
    return "not measured" if ratio is None else f"{ratio:.1f}"


def escaped(text: str) -> str:
    """Text in a field of a table."""
    return text.replace("|", "\\|")
