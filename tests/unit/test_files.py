"""Paths as users write them, and names that not every system can write."""

import os
from pathlib import Path

import pytest

from fedsim.errors import ConfigError
from fedsim.files import as_typed, file_name, printable, readable_path, reserve, user_path


@pytest.fixture(autouse=True)
def _home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    monkeypatch.setenv("SCRATCH", "/scratch/ada")
    monkeypatch.setenv("IN_HOME", "~/data")
    monkeypatch.setenv("DOLLARS", "a$b")
    monkeypatch.delenv("UNSET", raising=False)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("~/runs", "/home/ada/runs"),
        ("~", "/home/ada"),
        ("$SCRATCH/runs", "/scratch/ada/runs"),
        ("${SCRATCH}2/runs", "/scratch/ada2/runs"),
        ("$IN_HOME/x", "/home/ada/data/x"),
        ("$DOLLARS", "a$b"),
        ("a$$SCRATCH", "a$SCRATCH"),
        ("costs $5", "costs $5"),
        ("a~b/~c", "a~b/~c"),
        ("runs", "runs"),
    ],
)
def test_variables_and_homes_are_expanded(text: str, path: str) -> None:
    assert user_path(text, "key") == Path(path)
    assert user_path(Path(text), "key") == Path(path)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("$UNSET/x", "the variable $UNSET is not set"),
        ("x/${UNSET}", "the variable ${UNSET} is not set"),
        ("${}", "the variable ${} is not set"),
        ("~nobody-of-this-name/x", "the home ~nobody-of-this-name is not known"),
        ("a\0b", "no file can have the name"),
        ("\ud800", "no file can have the name"),
    ],
)
def test_what_cannot_be_expanded_is_an_error_that_names_the_key(text: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=r"data\.root: ") as caught:
        user_path(text, "data.root")
    assert problem in str(caught.value)


def test_a_user_without_a_home_is_told_to_set_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)
    with pytest.raises(ConfigError, match="the home ~ is not known; set HOME"):
        user_path("~/x", "output_dir")


@pytest.mark.parametrize("text", ["a$b", "$SCRATCH", "~", "~ada/x", "plain"])
def test_a_path_is_typed_so_that_it_is_read_as_itself(text: str) -> None:
    assert user_path(as_typed(Path(text)), "key").absolute() == Path(text).absolute()


def test_names_in_other_encodings_stay_files(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9")
    path.write_text("text")
    with readable_path(path) as readable:
        assert readable.read_text() == "text"
        str(readable).encode()
    assert file_name(str(path)) == str(path)
    assert printable(path.name) == "caf\\udce9"


def test_letters_that_the_file_system_encoding_lacks_are_in_utf_8(monkeypatch: pytest.MonkeyPatch) -> None:
    def to_ascii(text: str) -> bytes:
        return text.encode("ascii", "surrogateescape")

    monkeypatch.setattr(os, "fsencode", to_ascii)
    monkeypatch.setattr(os, "fsdecode", lambda name: name.decode("ascii", "surrogateescape"))
    assert to_ascii(file_name("été")) == "été".encode()


def test_room_is_reserved_where_the_system_cannot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "posix_fallocate")
    with (tmp_path / "file").open("w+b") as file:
        file.write(b"head")
        file.flush()
        reserve(file.fileno(), 4, 100)
        assert os.fstat(file.fileno()).st_size == 104
        reserve(file.fileno(), 0, 2)
        assert os.fstat(file.fileno()).st_size == 104


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("runs/" + "x" * 300, "a name of 300 bytes; no file can have more than 255"),
        ("é/" * 3000, "has 8999 bytes"),
        ("é" * 200, "a name of 400 bytes"),
        ("a\0b", "no file can have the name"),
        ("a\ud800", "no file can have the name"),
    ],
)
def test_a_path_that_no_file_system_takes_is_refused_in_a_sentence(path: str, words: str) -> None:
    with pytest.raises(ConfigError, match=r"^output_dir: ") as caught:
        user_path(path, "output_dir")
    assert words in str(caught.value)
    assert len(str(caught.value)) < 200
