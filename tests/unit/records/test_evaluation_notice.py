"""The notice about evaluation that takes longer than training, from the times of rounds."""

import logging

import pytest

from fedsim.records.evaluation_notice import EvaluationNotice
from fedsim.records.round_record import RoundRecord


def said(
    caplog: pytest.LogCaptureFixture,
    *,
    rounds: int = 200,
    every: int = 1,
    training: float = 1.0,
    gather: float = 0.0,
    evaluation: float = 3.0,
    first: int = 1,
) -> list[str]:
    """What is said in a run in which an evaluation takes so many seconds, and other work of a round a second."""
    notice = EvaluationNotice(rounds, every)
    with caplog.at_level(logging.INFO):
        for number in range(first, rounds + 1):
            times = {"local_work": training, "gather": gather, "aggregate": 1.0}
            times["evaluate"] = evaluation if number % every == 0 or number == rounds else 0.0
            if number == first:
                times = {**times, "evaluate": 1000.0}  # a model is compiled, or a cache is filled
            notice.write(RoundRecord(round=number, train_loss=None, times=times))
    notice.close("completed")
    return [record.getMessage() for record in caplog.records]


def test_it_names_the_key_and_the_share_once(caplog: pytest.LogCaptureFixture) -> None:
    (text,) = said(caplog)
    assert "evaluation takes 60 % of the time" in text  # 3 of 1 + 1 + 3 seconds
    assert "evaluation.every: 10 would make it 13 %" in text  # 0.3 of 2.3


@pytest.mark.parametrize("every", [2, 3, 7])
def test_rare_evaluations_are_counted_at_their_rate(every: int, caplog: pytest.LogCaptureFixture) -> None:
    (text,) = said(caplog, every=every, evaluation=3.0 * every)
    assert "evaluation takes 60 % of the time" in text
    assert f"evaluation.every: {10 * every} would" in text


def test_a_resumed_run_that_is_long_enough_gets_it_too(caplog: pytest.LogCaptureFixture) -> None:
    assert len(said(caplog, first=101)) == 1


@pytest.mark.parametrize(
    "run",
    [
        {"evaluation": 0.9},
        {"evaluation": 3.0, "gather": 2.5},  # the other ranks train longer than rank 0
        {"rounds": 6},
        {"rounds": 15},  # 27 seconds are still to come
        {"training": 0.01, "evaluation": 0.1},
        {"every": 10, "evaluation": 9.0},
    ],
    ids=str,
)
def test_nothing_is_said_where_it_does_not_matter(run: dict[str, float], caplog: pytest.LogCaptureFixture) -> None:
    assert said(caplog, **run) == []  # type: ignore[arg-type]
