"""Lines of metrics.jsonl against their copy and the digest in the checkpoint."""

import json
from collections.abc import Callable

import pytest

from fedsim.records.metrics_recovery import Line, Recovery, copy_of, digest_of_all, record_of, recover, rounds

RUN = "5f"
LINES = [Line(n, json.dumps({"round": n, "accuracy": n / 8, "times": {"gather": n / 3}})) for n in range(1, 7)]
METRICS = "".join(f"{line.text}\n" for line in LINES).encode()
COPY = "".join(f"{copy_of(line, RUN)}\n" for line in LINES).encode()
KNOWN = digest_of_all(LINES, RUN)


def recovered(metrics: bytes = METRICS, copy: bytes = COPY, done: int = 6, known: str | None = KNOWN) -> Recovery:
    return recover(metrics, copy, done, RUN, known)


def is_whole(found: Recovery, rounds: int = 6) -> bool:
    return found.lines == LINES[:rounds] and not found.problem("copy")


def test_whole_files_need_nothing() -> None:
    assert is_whole(recovered())
    assert is_whole(recovered(copy=b""))  # the digest is enough
    assert is_whole(recovered(b"", b"", 0, None), rounds=0)
    assert is_whole(recovered(METRICS + b'{"round": 7, "acc'))
    assert is_whole(recovered(done=4, known=digest_of_all(LINES[:4], RUN)), rounds=4)


def flipped(content: bytes, offset: int, bit: int) -> bytes:
    return content[:offset] + bytes([content[offset] ^ (1 << bit)]) + content[offset + 1 :]


@pytest.mark.parametrize("bit", range(8))
def test_one_bit_is_restored_wherever_it_is(bit: int) -> None:
    for offset in range(len(METRICS)):
        found = recovered(flipped(METRICS, offset, bit))
        assert [line.results for line in found.lines] == [line.results for line in LINES], offset
        assert found.problem("copy"), offset
    for offset in range(len(COPY)):
        assert is_whole(recovered(copy=flipped(COPY, offset, bit))), offset


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda rows: [], "rounds 1 to 6 are lost"),
        (lambda rows: [rows[0], rows[3], rows[5]], "rounds 2 to 3, 5 are lost"),
        (lambda rows: [*rows[:5], b'{"round": 6, "accuracy": 0.9}\n'], "round 6 is perhaps not as"),
        (lambda rows: [rows[1], rows[0], *rows[2:]], "its lines are in order again"),
    ],
)
def test_what_copy_and_digest_cannot_restore_is_said(change: Callable[[list[bytes]], list[bytes]], said: str) -> None:
    metrics = b"".join(change(METRICS.splitlines(keepends=True)))
    copy = b"".join(COPY.splitlines(keepends=True)[:5]) if "round 6 is" in said else b""
    assert recovered(metrics, copy).problem("copy").startswith(said)


def test_without_a_digest_two_lines_of_a_round_are_doubtful() -> None:
    other = b'{"round": 2, "accuracy": 0.99}\n'
    assert recovered(METRICS + other, b"", known=None).doubtful == [2]
    assert is_whole(recovered(METRICS, b"", known=None))


def test_lines_and_copy_of_another_run_are_recognised() -> None:
    theirs = "".join(f"{copy_of(line, '60')}\n" for line in LINES).encode()
    assert recovered(b"", theirs).lost == [1, 2, 3, 4, 5, 6]
    changed = METRICS.replace(b'"accuracy": 0.5', b'"accuracy": 0.6')
    assert recovered(changed, theirs).doubtful == [1, 2, 3, 4, 5, 6]


def test_many_ranges_are_not_all_named() -> None:
    words = rounds(range(1, 90_000, 2))
    assert words.startswith("rounds 1, 3, 5")
    assert words.endswith("... are")
    assert len(words) < 100


def test_what_a_plugin_records_need_be_no_number() -> None:
    """Records of before have no copy: what is taken for damaged is lost."""
    line = b'{"round": 1, "server": {"accepted": true, "mode": "a"}, "clients": {"kept": {"0": false}}, "times": {}}'
    record = record_of(line)
    assert record is not None
    assert record.server == {"accepted": True, "mode": "a"}
    assert recover(line + b"\n", b"", 1, RUN, None).lines == [Line(1, line.decode())]
