"""Shakespeare: LEAF's files and plain plays, split by time, against loops over their texts."""

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from fedsim.data import Samples, Splits
from fedsim.data.partitioners import partitioners
from fedsim.data.sources import sources
from fedsim.data.text.role_texts import spoken_by_role
from fedsim.errors import ConfigError, FedsimWarning
from support.texts import ROLES, leaf_samples, speech, write_leaf_text, write_play

pytestmark = pytest.mark.usefixtures("cache")

LEAF = "\n !\"&'(),-.0123456789:;>?ABCDEFGHIJKLMNOPQRSTUVWXYZ[]abcdefghijklmnopqrstuvwxyz}"
LENGTH = 20
TEXTS = {
    "ROMEO AND JULIET_ROMEO": speech("a", 150),
    "HAMLET_HAMLET": speech("e", 90),
    "HAMLET_GHOST": speech("o", 25),
}


def load(root: Path, **settings: Any) -> Splits:
    return sources.build("shakespeare", **{"length": LENGTH, **settings}).load(root)


def text_of(ids: Tensor) -> str:
    return "".join(LEAF[index] for index in ids.tolist())


def said(samples: Samples) -> list[tuple[str, str, str]]:
    """Role, window and what comes next of each sample, in order."""
    inputs = samples.pick(torch.arange(len(samples)))
    assert isinstance(inputs, Tensor)
    assert inputs.dtype == samples.labels.dtype == torch.int64
    after = samples.labels[..., None].flatten(1)
    rows = zip(samples.columns["role"], inputs, after, strict=True)
    return [(role, text_of(window), text_of(label)) for role, window, label in rows]


def windows(texts: dict[str, str], length: int = LENGTH) -> list[tuple[str, str, str]]:
    return [
        (role, text[at : at + length], text[at + length])
        for role, text in texts.items()
        for at in range(len(text) - length)
    ]


@pytest.mark.parametrize("place", ["", "data"])
def test_the_sides_of_leaf_are_taken_as_they_are(place: str, tmp_path: Path) -> None:
    ends = {role: text[-LENGTH - 3 :] for role, text in TEXTS.items() if role != "HAMLET_GHOST"}
    first, *others = TEXTS
    write_leaf_text(tmp_path / place / "train" / "all_data_0.json", {first: TEXTS[first]}, LENGTH)
    write_leaf_text(tmp_path / place / "train" / "all_data_1.json", {role: TEXTS[role] for role in others}, LENGTH)
    write_leaf_text(tmp_path / place / "test" / "all_data_0.json", ends, LENGTH)
    splits = load(tmp_path)
    assert sorted(said(splits.train)) == sorted(windows(TEXTS))
    assert sorted(said(splits.test)) == sorted(windows(ends))
    assert (splits.num_classes, splits.vocabulary, splits.input_shape) == (80, 80, (LENGTH,))
    assert splits.class_names[0] == "newline"
    assert splits.class_names[2] == "!"
    with pytest.warns(FedsimWarning, match="data.test_share has no effect"):
        load(tmp_path, test_share=0.5)


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_all_data_are_split_by_time_within_each_role(share: float, tmp_path: Path) -> None:
    """As LEAF's split_data.py has it: the first of n to train, a gap of length - 1, the rest to test."""
    write_leaf_text(tmp_path / "all_data" / "all_data.json", TEXTS, LENGTH)
    splits = load(tmp_path, test_share=share)
    train, test = [], []
    for role, text in TEXTS.items():
        of_role = windows({role: text})
        end = max(1, int((1 - share) * len(of_role)))
        train += of_role[:end]
        test += of_role[end + LENGTH - 1 :]
    assert sorted(said(splits.train)) == sorted(train)
    assert sorted(said(splits.test)) == sorted(test)
    assert bool(test) == (share == 0.5)


@pytest.mark.parametrize("per_token", [False, True])
def test_a_play_gives_the_samples_that_leaf_makes_of_what_its_roles_say(per_token: bool, tmp_path: Path) -> None:
    path = write_play(tmp_path / "play", 300)
    spoken = {
        role: speech(vowel, 300)[:150] + "\n" + speech(vowel, 300)[150:] + "\n" for role, vowel in ROLES.items()
    }
    assert spoken_by_role(path.read_text()) == spoken
    write_leaf_text(tmp_path / "leaf" / "all_data" / "all_data.json", spoken, LENGTH)
    both = [load(tmp_path / place, per_token=per_token, test_share=0.4) for place in ("play", "leaf")]
    for side in ("train", "test"):
        play, leaf = (said(getattr(splits, side)) for splits in both)
        assert sorted(play) == sorted(leaf) != []


def test_each_position_is_followed_by_the_next_character_and_samples_do_not_overlap(tmp_path: Path) -> None:
    write_play(tmp_path, 500)
    train, last = load(tmp_path, per_token=True).train, load(tmp_path, stride=LENGTH).train
    inputs = train.pick(torch.arange(len(train)))
    assert isinstance(inputs, Tensor)
    assert torch.equal(train.labels[:, :-1], inputs[:, 1:])
    assert torch.equal(train.labels[:, -1], last.labels)
    assert said(last) == [(role, window, after[-1]) for role, window, after in said(train)]
    for role in ROLES:
        mine = [(window, after) for who, window, after in said(train) if who == role]
        assert all(after[-1] == window[0] for (_, after), (window, _) in pairwise(mine))
        whole = "".join(window for window, _ in mine)
        assert spoken_by_role((tmp_path / "input.txt").read_text())[role].startswith(whole)


@pytest.mark.parametrize("stride", [1, 3])
def test_a_stride_takes_every_so_many_th_window_of_each_role(stride: int, tmp_path: Path) -> None:
    write_play(tmp_path, 200)
    whole, thin = load(tmp_path, test_share=0.4), load(tmp_path, test_share=0.4, stride=stride)
    for side in ("train", "test"):
        every = said(getattr(whole, side))
        wanted = [one for role in ROLES for one in [each for each in every if each[0] == role][::stride]]
        assert sorted(said(getattr(thin, side))) == sorted(wanted)


def test_only_the_roles_with_most_text_are_kept_and_each_is_a_client(tmp_path: Path) -> None:
    write_leaf_text(tmp_path / "all_data" / "all_data.json", TEXTS, LENGTH)
    splits = load(tmp_path, roles=2, test_share=0.5)
    assert set(splits.train.columns["role"]) == {"ROMEO AND JULIET_ROMEO", "HAMLET_HAMLET"}
    natural = partitioners.build("natural")
    generator = torch.Generator()
    clients = natural.partition(splits.train.labels, 2, generator, splits.train.columns)
    roles = [{splits.train.columns["role"][index] for index in share.tolist()} for share in clients]
    assert roles == [{"HAMLET_HAMLET"}, {"ROMEO AND JULIET_ROMEO"}]
    owners = natural.owners_of_tests(splits.train.columns, splits.test.columns)
    assert owners is not None
    assert [sorted(TEXTS)[1:][owner] for owner in owners.tolist()] == list(splits.test.columns["role"])
    with pytest.raises(ConfigError, match="roles: 4, but the data have 3; take at most 3"):
        load(tmp_path, roles=4)


def test_characters_that_leaf_does_not_know_are_its_last_one(tmp_path: Path) -> None:
    text = "The £ and the œuvre cost $3 & \N{GRINNING FACE} more}" + speech("a", 60)
    write_leaf_text(tmp_path / "all_data" / "all_data.json", {"A": text}, LENGTH)
    samples = load(tmp_path).train
    inputs = samples.pick(torch.arange(len(samples)))
    assert isinstance(inputs, Tensor)
    for window, found in zip(leaf_samples(text, LENGTH)["x"], inputs.tolist(), strict=False):
        assert found == [LEAF.find(letter) % 80 for letter in window]


def changed(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("change", "key", "said"),
    [
        (lambda content: content.pop("users"), "root", "it has no list 'users'"),
        (lambda content: content["user_data"].pop("A"), "root", "'user_data' has no user 'A'"),
        (lambda content: content["user_data"]["A"]["y"].pop(), "root", "user 'A' has 10 inputs, 9 labels"),
        (lambda content: content["user_data"]["A"]["y"].__setitem__(0, "ab"), "root", "no text with the character"),
        (lambda content: content["user_data"]["A"]["x"].__setitem__(0, 7), "root", "no text with the character"),
        (lambda content: content["user_data"]["A"]["x"].__setitem__(0, "abc"), "length", "set data.length to 3"),
    ],
)
def test_a_damaged_file_of_leaf_is_named(
    change: Callable[[dict[str, Any]], Any], key: str, said: str, tmp_path: Path
) -> None:
    path = write_leaf_text(tmp_path / "all_data" / "all_data.json", {"A": speech("a", LENGTH + 10)}, LENGTH)
    changed(path, change)
    with pytest.raises(ConfigError) as caught:
        load(tmp_path)
    assert caught.value.key == key
    assert str(path) in str(caught.value)
    assert said in str(caught.value)


def test_a_file_that_is_cut_off_is_named(tmp_path: Path) -> None:
    path = write_leaf_text(tmp_path / "all_data" / "all_data.json", TEXTS, LENGTH)
    path.write_text(path.read_text()[:-50])
    with pytest.raises(ConfigError, match=str(path)):
        load(tmp_path)


@pytest.mark.parametrize(
    ("content", "key", "said"),
    [
        (b"A play\n\nwithout roles\n", "root", "has no line that says who speaks"),
        (b"", "root", "has no line that says who speaks"),
        (b"ROMEO:\nJuli\xe9t\n", "root", "byte 11 is not UTF-8"),
        (b"ROMEO:\nShort.\n\nJULIET:\nShorter\n", "length", "speaks more than 8 characters; take less than 8"),
    ],
)
def test_a_play_that_cannot_be_read_is_named(content: bytes, key: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "input.txt").write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load(tmp_path)
    assert caught.value.key == key
    assert str(tmp_path / "input.txt") in str(caught.value)
    assert said in str(caught.value)


def test_a_folder_without_any_of_it_is_refused_before_a_run_and_says_what_to_put_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"root: .* has neither .*; put data/train and data/test there"):
        sources.build("shakespeare").check(tmp_path)
    (tmp_path / "all_data").mkdir()
    with pytest.raises(ConfigError, match=r"all_data holds no \.json file"):
        sources.build("shakespeare").check(tmp_path)


def test_a_check_looks_at_texts_that_take_no_time(tmp_path: Path) -> None:
    source = sources.build("shakespeare", length=LENGTH)
    write_play(tmp_path / "play", 200)
    write_leaf_text(tmp_path / "leaf" / "all_data" / "all_data.json", TEXTS, LENGTH)
    assert source.sketch(tmp_path / "play") is not None
    assert source.sketch(tmp_path / "leaf") is None  # not yet converted
    source.load(tmp_path / "leaf")
    sketch = source.sketch(tmp_path / "leaf")
    assert sketch is not None
    assert said(sketch.train) == said(source.load(tmp_path / "leaf").train)


def test_labels_that_do_not_fit_into_memory_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedsim.machine.available_memory", lambda: 1000)
    write_play(tmp_path, 400)
    with pytest.raises(ConfigError, match=r"stride: .*samples of 20 characters.*take a larger one"):
        load(tmp_path, per_token=True, stride=1)
