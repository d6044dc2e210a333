"""Messages: one sentence of limited length that can be printed, whatever value it quotes."""

import pytest

from fedsim.errors import MESSAGE_LENGTH, ConfigError, FedsimWarning, did_you_mean, unknown_key


@pytest.mark.parametrize("value", ["x" * 10_000, "a b " * 5000, "\x1b[2J" * 900, list(range(5000)), 10**4000])
def test_a_message_is_a_sentence_whatever_the_value(value: object) -> None:
    for key in ("rounds", "a." * 5000 + "b"):
        text = str(ConfigError(key, f"{value} is not allowed", "give a number"))
        assert len(text) <= MESSAGE_LENGTH
        assert text.startswith(key[:6])
        assert text.endswith("; give a number")
        assert text.isprintable()


def test_the_problem_gives_way_before_the_remedy() -> None:
    text = str(ConfigError("key", "p" * 140 + " " + "q" * 140, "r " * 80))
    assert text.endswith("r " * 80)


def test_of_the_value_of_an_unknown_key_a_little_is_shown() -> None:
    """A slash makes no path of it, which would be shown whole."""
    value = {"~/a": {"b": list(range(100))}, "c/d": 1}
    text = str(ConfigError("key", unknown_key(value), did_you_mean("key", [f"choice_{n}" for n in range(40)])))
    assert "unknown key (value {'~/a': {'b': [0, 1, " in text
    assert len(text) <= MESSAGE_LENGTH


def test_paths_of_a_usual_length_are_shown_whole() -> None:
    path = "/" + "/".join(["folder-of-mine"] * 9)
    text = str(ConfigError("data.root", f"there is no folder {path}", f"make {path}, or name another than {path}"))
    assert text.count(path) == 3
    assert len(str(ConfigError("data.root", "/" + "x/" * 4000, "name another"))) < 100


@pytest.mark.parametrize(
    ("letter", "shown"),
    [
        ("\n", r"\n"),
        ("\0", r"\x00"),
        ("\x1b", r"\x1b"),
        ("\u202e", r"\u202e"),
        ("\ud800", r"\ud800"),
        ("\x85", r"\x85"),
    ],
)
def test_letters_that_move_hide_or_reorder_are_escaped(letter: str, shown: str) -> None:
    assert str(ConfigError(f"k{letter}", f"p{letter}", f"r{letter}")) == f"k{shown}: p{shown}; r{shown}"
    assert str(FedsimWarning(f"w{letter}é")) == f"w{shown}é"


def test_an_error_seen_from_its_section_is_escaped_once() -> None:
    assert str(ConfigError("name", "a\\b\n").under("data")) == "data.name: a\\b\\n"


def test_many_choices_are_counted_and_a_long_word_takes_no_time() -> None:
    remedy = did_you_mean("w" * 1_000_000, [f"choice_{number:03}" for number in range(500)])
    assert remedy.startswith("valid: choice_000, choice_001")
    assert remedy.endswith("more")
    assert len(remedy) < MESSAGE_LENGTH
