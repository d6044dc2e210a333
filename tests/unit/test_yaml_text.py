"""What is written is read back the same, by this loader and by others."""

import random
import string

import pytest
import yaml

from fedsim.yaml_text import parse_yaml, yaml_line, yaml_text

LIKE_SOMETHING_ELSE = """
1e3 12e07 5E-2 1.e4 .5 -.5e1 1_000 010 09 0o17 0x1F 0b11 +7 -0 1:30 190:20:30.15 .inf -.INF .nan .NaN 1. 1e 1e+ 0e0
yes No on OFF y N true FALSE ~ null Null NULL << = - -- ? : ! & * @ % ` | > # [] {} , 2024-01-31
2024-01-31T10:20:30Z 2024-1-3 4711e082 12345678 00000000 0123e456 ١٢٣ ---
"""
SPACES = ["", " ", "a ", " a", "a\nb", "\n", "a\n\n b", "\t", "a: b", "a #b"]
SPECIAL = ["ab\x85c", "\ufeffx", "\x7f", "é", "😀", "\udcff"]
LETTERS = string.ascii_letters + string.digits + "+-._:eExo,#&*!|>'\"%@`{}[]?=~<\\ \t\n\x85\u2028é😀"


def random_texts(count: int) -> list[str]:
    generator = random.Random(7)
    some = [LETTERS, "0123456789e", "0123456789:-. TZ", "0123456789abcdef_xo+-."]
    return ["".join(generator.choices(generator.choice(some), k=generator.randint(1, 9))) for _ in range(count)]


TEXTS = [*LIKE_SOMETHING_ELSE.split(), *SPACES, *SPECIAL, *random_texts(1200)]


@pytest.mark.parametrize("chunk", range(4))
def test_any_text_is_read_back_the_same(chunk: int) -> None:
    for text in TEXTS[chunk::4]:
        values = {"key": text, "section": {"name": text, "list": [text, [text]]}, text: 1} | {"end": None}
        assert parse_yaml(yaml_text(values), "file") == values
        assert parse_yaml(yaml_line(values), "line") == values
        assert parse_yaml(yaml_line(text), "line") == text
        assert "\n" not in yaml_line(values)


def test_other_readers_of_yaml_1_1_see_a_text_too() -> None:
    for text in TEXTS:
        assert yaml.safe_load(yaml_text({"key": text})) == {"key": text}


@pytest.mark.parametrize(
    "text", ["010", "09", "0o17", "0x1F", "1e3", "1.e4", "+7", ".5", "5.", "y", "N", "-.INF", "~"]
)
def test_what_yaml_1_2_or_strict_1_1_reads_as_something_else_is_quoted(text: str) -> None:
    assert yaml_line(text) == f"'{text}'"


@pytest.mark.parametrize(
    "value", [0, -3, 2**70, 0.1, 1e-5, -1e300, 5e-324, 1e22, float("inf"), True, False, None, [], {}]
)
def test_other_values_keep_their_type(value: object) -> None:
    for text in (yaml_line({"a": [value]}), yaml_text({"a": [value]})):
        again = parse_yaml(text, "text")["a"][0]
        assert again == value
        assert type(again) is type(value)
        assert yaml.safe_load(text) == {"a": [value]}


def test_words_stay_as_they_are_and_lists_that_are_shared_are_written_out() -> None:
    shared = [1, 2]
    assert yaml_text({"data": "mnist5k", "root": "../data/x-1", "a": shared, "b": shared}) == (
        "data: mnist5k\nroot: ../data/x-1\na: [1, 2]\nb: [1, 2]\n"
    )


def test_a_date_is_the_text_that_was_typed() -> None:
    assert parse_yaml("root: 2023-11-30", "file") == {"root": "2023-11-30"}
