"""YAML that is meant to do harm: aliases that multiply, tags, depth, size, bytes that are no text."""

from __future__ import annotations

from hypothesis import strategies as st

from fuzz.configs import KEYS, Given


def laughs(levels: int, width: int) -> str:
    """Aliases of aliases: ``width ** levels`` values in a few lines."""
    lines = ["a0: &a0 [x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * width)}]" for n in range(1, levels)]
    return "\n".join([*lines, f"rounds: *a{levels - 1}"])


TAGS = ["!!int", "!!float", "!!bool", "!!null", "!!str", "!!binary", "!!timestamp", "!!set", "!!omap", "!!pairs",
        "!!seq", "!!map", "!!merge", "!!value", "!!python/object/apply:os.system", "!!python/name:os.system",
        "!!python/tuple", "!x", "!", "!!", "!<tag:yaml.org,2002:int>", "!<>"]  # fmt: skip
OPERANDS = [
    "",
    "x",
    "1:30",
    "1_000",
    "0x",
    "08",
    "2024-13-45",
    "[1, 2]",
    "{a: 1}",
    "'~'",
    "=",
    "<<",
    "\u0661",
    ".",
    "-",
]

SNIPPETS = [
    *(f"{tag} {operand}" for tag in TAGS for operand in OPERANDS),
    "&a [*a]",
    "&a {b: *a}",
    "*nowhere",
    "{<<: *a}",
    "{<<: [1]}",
    "{<<: {rounds: 2}, <<: {rounds: 3}}",
    "{[1]: 2}",
    "{{a: 1}: 2}",
    "? [a]\n: b",
    "{1: 2, true: 3, null: 4, 1.5: 5}",
    "{a: 1, a: 2}",
    "--- 1\n--- 2",
    "%YAML 9.9\n---\n1",
    "%TAG ! tag:x,1:\n---\n!y 1",
    "|+9\n x",
    ">\n\tx",
    '"\\x1b[2J"',
    '"\\u202e"',
    '"\\ud800"',
    '"\\0"',
    '"\\N\\L\\P"',
    "\x85",
    "\u2028",
    "\ufeff1",
    "[" * 20_000,
    "{a: " * 20_000,
    "- " * 20_000,
    "[" * 900 + "]" * 900,
    "x" * 200_000,
    f"[{', '.join(['x'] * 20_000)}]",
    f"{{{', '.join(f'k{n}: {n}' for n in range(20_000))}}}",
    "9" * 5000,
    f"1e{'9' * 400}",
    f"0.{'1' * 5000}",
    f"'{'a.' * 3000}'",
]
"""Values."""

WHOLE = [
    laughs(9, 9),
    laughs(25, 2),
    laughs(3, 300),
    "\n".join(f"k{n}: {n}" for n in range(20_000)),
    "rounds: 1\n" * 2000,
    "\t- x",
    "\x00",
    "\x1b]0;title\x07: 1",
    "- a\n- b",
    "just text",
    "1: 2",
    "null: 1",
    "true: {name: x}",
    ": x",
    "? \n: ",
    "data: &d {name: synthetic}\nmodel: *d",
    "data: {<<: {name: synthetic}}",
    "attack: [&a {name: zero, num_byzantine: 1}, *a]",
    "clients: &c\n  count: *c",
    "\ufeffrounds: 2",
]
"""Files."""


@st.composite
def damaged(draw: st.DrawFn, text: str) -> str:
    """A text with a few characters put in, taken out or repeated."""
    if len(text) > 2000:
        return text
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, len(text)))
        piece = draw(
            st.one_of(
                st.sampled_from([*"[]{}&*!|>'\"%@`,:-?#\n\t ", "\x00", "\x1b", "\ud800", "\x85"]), st.text(max_size=3)
            )
        )
        text = text[:place] + piece + text[place + draw(st.integers(0, 2)) :]
    return text


@st.composite
def hostile_files(draw: st.DrawFn) -> Given:
    """A file that is hostile as a whole, or has a hostile value at a key that exists."""
    if draw(st.booleans()):
        return Given(draw(damaged(draw(st.sampled_from(WHOLE)))), ())
    *parents, last = draw(st.sampled_from(KEYS)).split(".")
    lines = [f"{'  ' * depth}{part}:" for depth, part in enumerate(parents)]
    value = draw(damaged(draw(st.sampled_from(SNIPPETS))))
    return Given("\n".join([*lines, f"{'  ' * len(parents)}{last}: {value}"]), ())


@st.composite
def hostile_overrides(draw: st.DrawFn) -> Given:
    """A hostile value at a key that exists, or a key that is no key."""
    key = draw(
        st.one_of(st.sampled_from(KEYS), st.sampled_from(["", ".", "a..b", "\x1b[2J", "a" * 6000, "a." * 3000]))
    )
    value = draw(damaged(draw(st.sampled_from(SNIPPETS))))
    # what a command line can hold: bytes without zero, that are UTF-8 or not
    word = f"{key}={value}".encode("utf-8", "surrogatepass").decode("utf-8", "surrogateescape")
    return Given("rounds: 2\n", (word,))
