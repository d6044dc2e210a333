"""``docs/scaling.md``: the model of cost, its constants and what it predicts, out of the stored readings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import inf
from typing import Any

from fedsim.benchmark.cost_model import Cluster, CostModel, memory
from fedsim.machine import byte_size
from fedsim.updates.matrix import BLOCK

TEN_GIGABIT = 1.25e9
"""Bytes per second of a usual network."""

LARGE = 11_173_962
"""D of a ResNet-18."""

PHASES = ("local_work", "gather", "attack", "aggregate", "diagnose", "broadcast", "evaluate", "record")
"""Of a round; a figure of each is in a reading."""

CLUSTERS: Mapping[str, Cluster] = {
    "1 rank": Cluster(),
    "8 ranks of one host": Cluster(ranks=8),
    "8 ranks of one host, sharded": Cluster(ranks=8, sharded=True),
    "32 ranks of 4 hosts": Cluster(ranks=32, hosts=4, bandwidth=TEN_GIGABIT),
    "32 ranks of 4 hosts, sharded": Cluster(ranks=32, hosts=4, bandwidth=TEN_GIGABIT, sharded=True),
}

FORMULA = """\
K clients, D parameters, W ranks, H hosts; each rank has a core of its own. A round takes

    ceil(K/W) c                        local work of the rank with the most clients
    + 4 K D (1 - 1/H) / B              gather over the network; on one host rows are written where they are needed
    + K D (v + p K)                    attack, aggregation and diagnosis on rank 0
    + 4 D / B                          broadcast of the step, from H = 2
    + e/W + s + r K                    evaluation, distributed over the ranks; records

With `server.sharded` every rank works on its own columns: the gather is divided by H, for every host receives its
columns only, and the third line by W. B is the bandwidth between two hosts. c depends on the model and on the local
steps: `python -m fedsim.benchmark step` measures it. v has a part of the attack (here ALIE), of the diagnosis and of
the aggregator. p is what a value costs more with every further client: products of pairs of clients, sorting."""


def scaling_lines(report: Mapping[str, Any]) -> Iterator[str]:
    """The page, of a stored report of ``python -m fedsim.benchmark scaling``."""
    model = CostModel.fit(report["readings"])
    yield "What a round costs as clients, parameters, ranks and hosts grow. The constants were measured by"
    yield f"`{report['command']}`"
    yield f"on {report['machine']['words']}; times of phases are CPU times. Everything on this page is computed from"
    yield "those readings ([benchmarks](benchmarks.md)); nothing was measured on a cluster."
    yield ""
    if report["machine"].get("warning"):
        yield f"**{report['machine']['warning']}**"
        yield ""
    yield "## The model"
    yield ""
    yield FORMULA
    yield ""
    yield "## Constants"
    yield ""
    yield from _constants(model)
    yield ""
    yield "## Model and measurement"
    yield ""
    yield from _checks(model, report)
    yield ""
    yield "## Predicted"
    yield ""
    yield from _predictions(model)
    yield ""
    yield "## Memory"
    yield ""
    yield from _memory()
    yield ""
    yield "## Where it breaks"
    yield ""
    yield from _limits(model)


def _constants(model: CostModel) -> Iterator[str]:
    yield "| constant | value |"
    yield "|---|---:|"
    yield f"| c, local work of a client in that benchmark | {1e3 * model.per_client:.2f} ms |"
    yield f"| v, the attack's part | {1e9 * model.attack:.2f} ns |"
    yield f"| v, the diagnosis's part | {1e9 * model.diagnose:.2f} ns |"
    for name, value in model.values.items():
        yield f"| v, the part of {name} | {1e9 * value:.2f} ns |"
    for name, value in model.growth.items():
        yield f"| p of {name} | {1e12 * value:.2f} ps |"
    yield f"| e, evaluation on 1000 digits | {1e3 * model.evaluation:.0f} ms |"
    yield f"| s, records of a round | {1e3 * model.records:.1f} ms |"
    yield f"| r, records for a client | {1e6 * model.record:.0f} us |"


def _checks(model: CostModel, report: Mapping[str, Any]) -> Iterator[str]:
    yield "CPU milliseconds for each client, as measured and by the model:"
    yield ""
    yield "| round | measured | model |"
    yield "|---|---:|---:|"
    for reading in report["readings"]:
        figures = reading["figures"]
        if not figures:
            continue
        clients, ranks = int(figures["clients"]), int(figures["ranks"])
        of_phases = sum(value for name, value in figures.items() if name in PHASES)
        predicted = model.round(reading["name"].split(",")[0], clients, int(figures["D"]), Cluster(ranks=ranks))
        yield f"| {reading['name']} | {of_phases:.2f} | {1e3 * predicted / clients:.2f} |"


def _predictions(model: CostModel) -> Iterator[str]:
    yield f"Seconds of gather, server and broadcast for D = {LARGE:,} (a ResNet-18), without local work;"
    yield f"B = {TEN_GIGABIT / 1e9:g} GB/s:"
    yield ""
    yield f"| aggregator | K | {' | '.join(CLUSTERS)} |"
    yield f"|---|---:|{'---:|' * len(CLUSTERS)}"
    for name in model.values:
        for clients in (100, 1000):
            cells = [
                model.gather(clients, LARGE, cluster)
                + model.server(name, clients, LARGE, cluster)
                + model.broadcast(LARGE, cluster)
                for cluster in CLUSTERS.values()
            ]
            yield f"| {name} | {clients} | {' | '.join(f'{cell:.3g}' for cell in cells)} |"


def _memory() -> Iterator[str]:
    yield f"Rows of D = {LARGE:,} values in float32, on the rank that holds the most: K D values on rank 0, or with a"
    yield "sharded server K D / W values on every rank, and on several hosts the rows of its own clients beside them."
    yield ""
    yield f"| K | {' | '.join(CLUSTERS)} |"
    yield f"|---:|{'---:|' * len(CLUSTERS)}"
    for clients in (10, 100, 1000):
        cells = (byte_size(round(memory(clients, LARGE, cluster))) for cluster in CLUSTERS.values())
        yield f"| {clients} | {' | '.join(cells)} |"


def _limits(model: CostModel) -> Iterator[str]:
    for name in model.growth:
        most = model.growth_dominates_from(name)
        if most < inf:
            yield f"- {name}: from K = {most:.0f} on, what grows with K costs more than the rest of the server's"
            yield "  work; the time per client then grows with K, whatever the number of ranks."
    yield f"- Columns are distributed in blocks of {BLOCK:,}: with fewer than that for each rank, a sharded server"
    yield "  leaves ranks idle."
    yield "- Rows that fit into a processor's cache are faster than the model says, and memory that many ranks of one"
    yield "  host share is slower: its bandwidth does not grow with W."
    yield "- The gather is assumed to use the whole bandwidth, and not to overlap with local work."
