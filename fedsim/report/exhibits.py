"""What a report shows, in its order: each exhibit is a figure or a table, with its caption and its numbers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from math import isnan
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from fedsim.errors import ConfigError, counted, did_you_mean
from fedsim.report.comparisons import p_value, ranks
from fedsim.report.environments import environment_table
from fedsim.report.figures.axis_curves import Numbers, axis_figure, numbers_of
from fedsim.report.figures.axis_names import numbers_on
from fedsim.report.figures.costs import cost_figure, cost_table
from fedsim.report.figures.curves import MOST_BANDS, curves_figure
from fedsim.report.figures.heat_map import heat_map_figure
from fedsim.report.figures.rank_diagram import rank_figure
from fedsim.report.latex import file_stem, latex
from fedsim.report.markdown import markdown, records
from fedsim.report.scores import Score, as_caption, curves, how_best_is_chosen, is_share, metric_in_words, score_table
from fedsim.report.sentences import compared
from fedsim.report.study import ROWS, Entry, Study
from fedsim.report.tables import DIVERGED, WORST, Table, in_words, tables

PARTITION = "partition.png"


@dataclass(frozen=True)
class Exhibit:
    """One figure or table.

    Attributes:
        name: of its files.
        numbers: what it shows, for a CSV file.
        table: what is set as a table.
        figure: what is drawn.
        picture: a PNG file that is there already.
        tex: the table for a paper.
        markdown: the table for a README.
        comparisons: of the best aggregator with each other one.
        remarks: sentences below it.
    """

    name: str
    caption: str
    numbers: pd.DataFrame | None = None
    table: Table | None = None
    figure: Figure | None = None
    picture: Path | None = None
    tex: str = ""
    markdown: str = ""
    comparisons: pd.DataFrame | None = None
    remarks: Sequence[str] = ()


def exhibits(study: Study, score: Score, reference: str | None = None) -> Iterator[Exhibit]:
    """Everything that there is to show of a study.

    Args:
        reference: the aggregator that the others are compared with; None: the best of a table.

    Raises:
        ConfigError: there is no such aggregator, or no run has what they are judged by.
    """
    scores = score_table(study, score)
    methods = study.labels(ROWS)
    if reference is not None and reference not in methods:
        raise ConfigError("--reference", f"no aggregator is called '{reference}'", did_you_mean(reference, methods))
    found = tables(study, scores, lower_is_better=score.lower_is_better)
    for table in found:
        yield _table(table, score, how_best_is_chosen(study, score), reference)
    yield from _against_axes(study, scores, score)
    for table in found:
        if len(table.rows) > 1 or len(table.columns) > 1:
            yield _heat_map(table, score)
    yield from _ranks(found, score)
    for table in found:
        yield from _curves(table, _entries_of(study, table), methods, score)
    yield from _partitions(study)
    costs = cost_table(study.entries, methods)
    if (figure := cost_figure(costs)) is not None:
        caption = "Time of a round by phase: medians over the rounds, means over the runs of an aggregator."
        yield Exhibit("costs", caption, costs.rename_axis(study.rows_are).reset_index(), figure=figure)


def _named(kind: str, table: Table) -> str:
    return f"{kind}-{file_stem(table.title)}" if table.title else kind


def _where(table: Table) -> str:
    return f" ({table.title})" if table.title else ""


def _table(table: Table, score: Score, chosen: str, reference: str | None) -> Exhibit:
    counts = {len(entry.known) for entry in table.fields.values()} - {0}
    repeats, fewest = max(counts, default=0), min(counts, default=0)
    seeds = {0: ", nothing done yet", 1: ", one seed"}
    over = f"{repeats}" if fewest == repeats else f"{fewest} to {repeats}"
    spread = seeds.get(repeats, f", mean ± standard deviation over {over} seeds")
    worst = " The last column is the worst case of each row." if WORST in table.columns else ""
    marks = _about_marks(table) if repeats > 1 and len(table.rows) > 1 else ""
    caption = f"{as_caption(score)}{chosen}{_where(table)}{spread}.{worst}{marks}"
    found = compared(table, reference, lower_is_better=score.lower_is_better)
    return Exhibit(
        _named("table", table),
        caption,
        pd.DataFrame(table.tidy()),
        table,
        tex=latex(table, caption),
        markdown=markdown(table, caption, found.sentences),
        comparisons=pd.DataFrame(map(asdict, found.comparisons)) if found.comparisons else None,
        remarks=found.sentences,
    )


def _about_marks(table: Table) -> str:
    if any(field.mark for field in table.fields.values()):
        return " Bold and underlined: better than all others, or all but the best, by more than the noise (5 %)."
    return " No number is better than all others of its column by more than the noise (5 %)."


def _heat_map(table: Table, score: Score) -> Exhibit:
    figure = heat_map_figure(table, str(score), share=is_share(score.metric), lower_is_better=score.lower_is_better)
    caption = f"{as_caption(score)}{_where(table)}; grey: not done or diverged; *: of what is done."
    return Exhibit(
        _named("heat-map", table), caption, table.means.rename_axis(table.rows_are).reset_index(), figure=figure
    )


def _ranks(found: Sequence[Table], score: Score) -> Iterator[Exhibit]:
    lower = score.lower_is_better
    settings = pd.concat([table.to_rank(lower_is_better=lower) for table in found], ignore_index=True)
    result = ranks(settings, lower_is_better=lower)
    if result is None or len(result.average) < 3:
        return
    numbers = pd.DataFrame({ROWS: list(result.average), "average rank": list(result.average.values())})
    left = len(settings) - result.settings
    without = f"; {left} more {'is' if left == 1 else 'are'} not done for all" if left else ""
    last = (
        ", a divergence the last" if any(field.diverged for table in found for field in table.fields.values()) else ""
    )
    friedman = "" if isnan(result.p) else f"; Friedman's test: {p_value(result.p)}"
    caption = (
        f"Average ranks over {result.settings} settings (attacks and the other axes{without}), 1 being the "
        f"best{last}. A bar joins aggregators that Nemenyi's test cannot tell apart (5 %{friedman})."
    )
    yield Exhibit("ranks", caption, numbers.sort_values("average rank"), figure=rank_figure(result))


def _entries_of(study: Study, table: Table) -> list[Entry]:
    return [entry for entry in study.entries if _has(entry, table.choice)]


def _has(entry: Entry, choice: Mapping[str, str]) -> bool:
    return all(entry.labels.get(axis, "") == label for axis, label in choice.items())


SERVER_CURVES = {
    "server.detection_auc": "Area under the ROC curve of the trust in clients against who is Byzantine",
    "server.aggregation_error_ratio": "Distance of the aggregate to the honest mean as a share of its length",
}


def _curves(table: Table, entries: Sequence[Entry], methods: Sequence[str], score: Score) -> Iterator[Exhibit]:
    wanted = {score.metric: as_caption(metric_in_words(score.metric)), **SERVER_CURVES}
    for metric, what in wanted.items():
        yield from _curve(table, entries, methods, metric, what, partial(curves, metric=metric))
    for side, byzantine in (("honest", False), ("Byzantine", True)):
        what = f"Mean concordance ratio of the {side} clients"
        name, label = f"concordance_ratio_{side.lower()}", f"ratio of the {side}"
        yield from _curve(table, entries, methods, name, what, partial(_concordance, byzantine=byzantine), label)


def _curve(
    table: Table,
    entries: Sequence[Entry],
    methods: Sequence[str],
    metric: str,
    what: str,
    curve_of: Callable[[Entry], pd.Series[float]],
    label: str = "",
) -> Iterator[Exhibit]:
    label = label or re.sub(r"\bauc$", "AUC", metric.removeprefix("server.").replace("_", " "))
    chance = 0.5 if metric.endswith("auc") else None
    figure = curves_figure(entries, methods, curve_of, label, share=is_share(metric), chance=chance)
    if figure is not None:
        over = "mean over the seeds, up to the round in which the first of them ends"
        bands = f"with 95 % bands where there are up to {MOST_BANDS} lines"
        dotted = "; dotted: chance" if chance is not None else ""
        caption = f"{what}{_where(table)}, by round: {over}, {bands}{dotted}."
        yield Exhibit(
            _named(f"curves-{file_stem(metric)}", table), caption, _numbers(entries, curve_of), figure=figure
        )


def _numbers(entries: Sequence[Entry], curve_of: Callable[[Entry], pd.Series[float]]) -> pd.DataFrame:
    """Every curve of the runs, a row per round."""
    return pd.DataFrame(
        {"round": at, "value": value, **entry.labels} for entry in entries for at, value in curve_of(entry).items()
    )


def _concordance(entry: Entry, byzantine: bool) -> pd.Series[float]:
    clients = entry.run.clients if entry.run is not None else pd.DataFrame()
    if "concordance_ratio" not in clients:
        return pd.Series(dtype=float, name="round")
    chosen = clients[clients["byzantine"] == byzantine]
    return chosen.groupby("round")["concordance_ratio"].mean().dropna()


def _against_axes(study: Study, scores: pd.DataFrame, score: Score) -> Iterator[Exhibit]:
    """Of each axis of numbers a figure for each choice on the others, as there is a table for each."""
    of_rows = [study.rows_are] if study.rows_are != ROWS else []
    for axis in [*study.other_axes, *of_rows]:
        values = numbers_of(study.labels(axis))
        rest = [other for other in study.other_axes if other != axis]
        for choice in study.choices(rest) if values else ():
            entries = [entry for entry in study.entries if _has(entry, choice)]
            yield from _against_axis(study, scores, axis, choice, numbers_on(axis, values or {}, entries), score)


def _against_axis(
    study: Study, scores: pd.DataFrame, axis: str, choice: Mapping[str, str], numbers: Numbers, score: Score
) -> Iterator[Exhibit]:
    for other, label in choice.items():
        scores = scores[scores[other] == label]
    share, lower = is_share(score.metric), score.lower_is_better
    methods = [""] if axis == study.rows_are else study.labels(ROWS)
    of_lines = scores.assign(**{ROWS: ""}) if axis == study.rows_are else scores
    figure = axis_figure(of_lines, axis, numbers, methods, str(score), share=share, lower=lower)
    if figure is not None:
        where = in_words(choice)
        crosses = "; a cross: diverged on a seed" if (scores["state"] == DIVERGED).any() else ""
        caption = (
            f"{as_caption(score)} against {axis}{f' ({where})' if where else ''}: means and 95 % intervals "
            f"over the seeds, set apart a little so that they can be seen{crosses}."
        )
        name = f"against-{file_stem(axis)}{f'-{file_stem(where)}' if where else ''}"
        yield Exhibit(name, caption, scores, figure=figure)


WHOLE = {"imbalance": 1.0, "validation": 0.0}
"""Settings that leave out training samples, at their values that leave out none."""


def _partitions(study: Study) -> Iterator[Exhibit]:
    """One picture for each split that the settings ask for, of the first seed."""
    seen: set[str] = set()
    for entry in study.entries:
        if entry.run is None or not (entry.run.directory / PARTITION).is_file():
            continue
        data, clients = entry.run.settings["data"], entry.run.settings["clients"]["count"]
        sizes = {key: data[key] for key, none in WHOLE.items() if data.get(key, none) != none}
        split = f"{data['name']}, {data['partition']}, {sizes}, {clients} clients"
        if split not in seen:
            seen.add(split)
            name = f"partition-{len(seen)}" if len(seen) > 1 else "partition"
            rule = ", ".join(f"{key} {value}" for key, value in {**data["partition"], **sizes}.items())
            seed = entry.run.settings["seed"]
            caption = f"Training samples of each client by class ({data['name']}; {rule}; seed {seed})."
            yield Exhibit(name, caption, picture=entry.run.directory / PARTITION)


def environments(study: Study) -> Exhibit:
    """Where the runs come from; no rows where none has been started."""
    table = environment_table(study.entries)
    caption = "Where the runs were made, how many, and the seconds that they took together."
    return Exhibit("environment", caption, table, markdown="" if table.empty else records(table, caption))


def rows_and_columns(study: Study) -> str:
    """What the study covers, in words."""
    counts = {axis: len(study.labels(axis)) for axis in study.axes}
    parts = [
        f"{count} values of {axis}" if "." in axis or axis == "data" else counted(count, axis)
        for axis, count in counts.items()
        if count > 1
    ]
    runs = counted(len(study.entries), "run")
    return f"{runs}: {', '.join(parts)}" if parts else runs
