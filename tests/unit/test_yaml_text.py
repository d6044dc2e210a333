"""What is written is read back the same, by this loader and by others."""

import random
import string
from time import monotonic

import pytest
import yaml

from fedsim.errors import ConfigError
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


LAUGHS = "a: &a [x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 8)}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (LAUGHS, "more than 20000 keys and values"),
        ("\n".join(f"k{number}: 1" for number in range(20_000)), "more than 20000 keys and values"),
        ("[" * 30_000, "more than 32 levels"),
        ("{a: " * 400, "more than 32 levels"),
        ("".join("  " * depth + "k:\n" for depth in range(300)), "more than 32 levels"),
        ("# " + "x" * 2**20, "more than 1048576 characters"),
        ("a: &a {b: [*a]}", "'*a' stands inside of what it repeats"),
        ("- " + "7" * 4000, "more than 100 digits"),
    ],
)
def test_a_flood_is_one_sentence_and_takes_no_time(text: str, words: str) -> None:
    started = monotonic()
    with pytest.raises(ConfigError) as caught:
        parse_yaml(text, "file")
    assert words in str(caught.value)
    assert len(str(caught.value)) < 300
    assert monotonic() - started < 10  # 20 000 brackets took minutes; on a busy machine this takes two seconds


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("!!timestamp yesterday", "!!timestamp has no meaning"),
        ("!!timestamp 2024-01-31", "!!timestamp has no meaning"),
        ("!!binary aGk=", "!!binary has no meaning"),
        ("!!set {a, b}", "!!set has no meaning"),
        ("!!python/name:os.system", "!!python/name:os.system has no meaning"),
        ("!mine x", "!mine has no meaning"),
        ("!!int", "'' is not a whole number"),
        ("!!int 3:20", "'3:20' is not a whole number"),
        ("!!int 0b11", "'0b11' is not a whole number"),
        ("!!int 3_0", "'3_0' is not a whole number"),
        ("!!int [3]", "a list is not a whole number"),
        ("!!float 1:30.5", "'1:30.5' is not a number"),
        ("!!float", "'' is not a number"),
        ("!!bool maybe", "'maybe' is not true or false"),
        ("!!null x", "'x' is not null"),
        ("!!map [1]", "a list is not a mapping"),
        ("!!seq {a: 1}", "a mapping is not a list"),
        ("a: {<<: {b: 1}}", "'<<' merges nothing"),
        ("{[1]: 2}", "a list cannot be a key"),
        ('"\\UFFFFFFFF"', "too large"),
        ("x: \0", "#x0000"),
        ("x: \ud800", "#xd800"),
    ],
)
def test_what_has_no_meaning_is_one_sentence(text: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_yaml(text, "rounds=")
    assert words in str(caught.value)
    assert str(caught.value).startswith("rounds=")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("!!int 3", 3), ("!!float 3", 3.0), ("!!float -.inf", float("-inf")), ("!!bool Off", False), ("!!str 3", "3"),
        ("!!null ~", None), ("1_000", "1_000"), ("0x10", "0x10"), ("1e3", 1000.0), ("=", "="), ("1:30", "1:30"),
        ("[&a {b: 1}, *a]", [{"b": 1}, {"b": 1}]),
    ],
)  # fmt: skip
def test_tags_that_say_what_is_there_and_aliases_are_read(text: str, value: object) -> None:
    assert parse_yaml(text, "x=") == value
