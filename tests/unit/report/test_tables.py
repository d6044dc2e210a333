"""Tables attack x aggregator."""

from itertools import product
from math import isnan

import pandas as pd
import pytest

from fedsim.report.latex import file_stem, latex
from fedsim.report.study import Entry, Study
from fedsim.report.tables import BEST, SECOND, WORST, Table, tables

SEEDS = ("0", "1", "2")


def table_of(scores: dict[tuple[str, str], list[float | str]], *, lower_is_better: bool = False) -> Table:
    """From (aggregator, attack): the score or the state of each seed."""
    rows = [
        {
            "attack": attack,
            "aggregator": row,
            "seed": seed,
            "state": "done" if isinstance(value, float) else value,
            "score": value if isinstance(value, float) else float("nan"),
        }
        for (row, attack), values in scores.items()
        for seed, value in zip(SEEDS, values, strict=False)
    ]
    axes = ["attack", "aggregator", "seed"]
    study = Study(
        "a study", axes, [Entry({axis: str(row[axis]) for axis in axes}, str(row["state"])) for row in rows]
    )
    (table,) = tables(study, pd.DataFrame(rows), lower_is_better=lower_is_better)
    return table


def marks(table: Table, column: str) -> dict[str, str]:
    return {row: table.fields[row, column].mark for row in table.rows}


def test_means_deviations_and_the_worst_case() -> None:
    table = table_of({("a", "x"): [0.5, 0.7, 0.6], ("a", "y"): [0.2, 0.2, 0.2], ("b", "x"): [0.4], ("b", "y"): [0.9]})
    assert table.columns == ["x", "y", WORST]
    assert [table.fields["a", column].number for column in table.columns] == [
        "0.600 ± 0.100",
        "0.200 ± 0.000",
        "0.200 ± 0.000",
    ]
    assert (table.fields["a", WORST].attack, table.fields["b", WORST].attack) == ("y", "x")
    assert table.means.to_dict() == {
        "x": {"a": pytest.approx(0.6), "b": 0.4},
        "y": {"a": pytest.approx(0.2), "b": 0.9},
    }


def test_the_worst_loss_is_the_highest() -> None:
    table = table_of({("a", "x"): [0.5], ("a", "y"): [0.2]}, lower_is_better=True)
    assert (table.fields["a", WORST].number, table.fields["a", WORST].attack) == ("0.500", "x")


def test_a_divergence_is_the_worst_case_whatever_the_other_seeds_say() -> None:
    table = table_of({("a", "x"): [0.9, "diverged", 0.9], ("a", "y"): [0.1, 0.1, 0.1]})
    assert (table.fields["a", "x"].number, table.fields["a", "x"].remark) == ("0.900 ± 0.000", "1 diverged")
    assert (table.fields["a", WORST].number, table.fields["a", WORST].remark) == ("", "diverged")


def test_the_worst_case_of_some_attacks_is_said_to_be_so_and_never_marked() -> None:
    table = table_of(
        {
            **{("a", attack): [0.9, 0.91, 0.92] for attack in "xy"},
            ("b", "x"): [0.95, 0.96, 0.97],
            ("b", "y"): ["pending", "pending"],
            **{("c", attack): [0.1, 0.11, 0.12] for attack in "xy"},
        }
    )
    worst = table.fields["b", WORST]
    assert (worst.number, worst.remark, worst.attack) == ("0.960 ± 0.010", "1 of 2 attacks", "x")
    assert marks(table, WORST) == {"a": "", "b": "", "c": ""}
    assert marks(table, "x") == {"a": SECOND, "b": BEST, "c": ""}


@pytest.mark.parametrize("lower_is_better", [False, True])
def test_a_divergence_ranks_last_whatever_the_other_seeds_say(lower_is_better: bool) -> None:
    table = table_of({("a", "x"): [0.9, "diverged"], ("b", "x"): [0.5, 0.5], ("c", "x"): [0.6, 0.6]})
    found = table.to_rank(lower_is_better=lower_is_better).loc["x"]
    assert found[["b", "c"]].tolist() == [0.5, pytest.approx(0.6)]
    order = found.sort_values(ascending=lower_is_better).index.tolist()
    assert order[-1] == "a"


def test_what_is_clearly_better_is_marked() -> None:
    table = table_of({("a", "x"): [0.9, 0.91, 0.92], ("b", "x"): [0.8, 0.81, 0.82], ("c", "x"): [0.5, 0.6, 0.4]})
    assert marks(table, "x") == {"a": BEST, "b": SECOND, "c": ""}


def test_nothing_within_the_noise_is_marked() -> None:
    table = table_of({("a", "x"): [0.9, 0.8, 0.7], ("b", "x"): [0.7, 0.8, 0.85], ("c", "x"): [0.1, 0.1, 0.1]})
    assert marks(table, "x") == {"a": "", "b": "", "c": ""}


def test_one_seed_has_no_noise_to_compare_with() -> None:
    assert marks(table_of({("a", "x"): [0.9], ("b", "x"): [0.1]}), "x") == {"a": "", "b": ""}


def test_a_field_with_a_divergence_is_never_marked() -> None:
    table = table_of({("a", "x"): [0.9, 0.9, "diverged"], ("b", "x"): [0.5, 0.5, 0.5], ("c", "x"): [0.4, 0.4, 0.4]})
    assert marks(table, "x") == {"a": "", "b": BEST, "c": ""}


def test_a_table_for_each_choice_on_the_other_axes() -> None:
    rows = [
        {"data": data, "attack": "x", "aggregator": "a", "seed": "0", "state": "done", "score": score}
        for data, score in (("one", 0.5), ("two", 0.6))
    ]
    axes = ["data", "attack", "aggregator", "seed"]
    study = Study("s", axes, [Entry({axis: str(row[axis]) for axis in axes}, "done") for row in rows])
    found = tables(study, pd.DataFrame(rows), lower_is_better=False)
    assert [(table.title, table.fields["a", "x"].mean) for table in found] == [("data one", 0.5), ("data two", 0.6)]


def test_latex_has_marks_deviations_and_escapes() -> None:
    table = table_of({("a_1", "50 %"): [0.9, 0.91, 0.92], ("b", "50 %"): [0.5, 0.5, "failed"]})
    text = latex(table, "A & B")
    assert r"a\_1 & $\mathbf{0.910} {\scriptstyle \pm 0.010}$ \\" in text
    assert r"aggregator & 50 \% \\" in text
    assert r"b & $0.500 {\scriptstyle \pm 0.000}$ (1 failed) \\" in text
    assert r"\caption{A \& B}" in text


ODD = {
    "50 % & #1": r"50 \% \& \#1",
    "$x_1^2$": r"\$x\_1\textasciicircum{}2\$",
    "<b>|~": r"\textless{}b\textgreater{}\textbar{}\textasciitilde{}",
    "\\input{x}": r"\textbackslash{}input\{x\}",
    "[3pt]*": "{[}3pt{]}{*}",
    "two\n\nlines": "two lines",
    "a ± b": r"a $\pm$ b",
}


@pytest.mark.parametrize("label", ODD)
def test_latex_sets_any_label_as_it_is(label: str) -> None:
    text = latex(table_of({(label, label): [0.5]}), label)
    assert rf"{ODD[label]} & $0.500$ \\" in text
    assert rf"aggregator & {ODD[label]} \\" in text
    assert rf"\caption{{{ODD[label]}}}" in text


def test_a_wide_table_is_scaled_to_the_line() -> None:
    wide = latex(table_of({("a", attack): [0.5] for attack in "uvwxyz"}), "")
    assert r"\resizebox{\linewidth}{!}{%" in wide
    assert wide.count("{") == wide.count("}")
    assert "resizebox" not in latex(table_of({("a", "x"): [0.5]}), "")


def test_a_run_that_lacks_the_metric_does_not_count() -> None:
    table = table_of({("a", "x"): [0.5, float("nan")]})
    assert table.fields["a", "x"].number == "0.500"
    assert next(iter(table.tidy()))["runs"] == 1


def test_what_is_not_done_has_no_mean() -> None:
    table = table_of({("a", "x"): ["pending", "pending"], ("b", "x"): [0.5, "failed"]})
    assert isnan(table.fields["a", "x"].mean)
    assert table.fields["a", "x"].remark == "pending"
    assert next(iter(table.tidy()))["mean"] is None


def test_choices_are_the_combinations_that_some_run_has() -> None:
    """Ten runs that differ in one of ten settings each, of 1 024 combinations; with fifty, a report never ended."""
    axes = [f"key{place}" for place in range(10)]
    study = Study("s", axes, [Entry({axis: str(axis == other) for axis in axes}, "done") for other in axes])
    runs = [dict(entry.labels) for entry in study.entries]
    every = [dict(zip(axes, labels, strict=True)) for labels in product(*(study.labels(axis) for axis in axes))]
    assert study.choices(axes) == [choice for choice in every if choice in runs]


def test_an_axis_that_the_runs_of_a_table_do_not_have_is_not_in_its_title() -> None:
    assert Table({"rounds": "", "data": "mnist5k"}, [], [], {}).title == "data mnist5k"


def test_names_of_files_are_cut_and_stay_apart() -> None:
    long = "数据" * 200
    assert file_stem(long + "a") != file_stem(long + "b")
    assert len(file_stem(long).encode()) < 150
