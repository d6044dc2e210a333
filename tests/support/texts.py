"""Small texts of roles, in the exact forms of the published ones."""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from fedsim.data import TensorSamples
from fedsim.data.labels import IGNORED
from fedsim.models import Task, models
from fedsim.seeds import seeded

ROLES = {"ROMEO": "a", "JULIET": "e", "First Citizen": "o"}
"""Each says words of its own vowel."""


def speech(vowel: str, characters: int, seed: int = 0) -> str:
    """Words that alternate a consonant with the vowel: a Markov text, of which half the characters can be known."""
    draws = torch.randint(5, (characters,), generator=torch.Generator().manual_seed(seed + ord(vowel))).tolist()
    text = "".join(f"{'bdgmt'[draw]}{vowel}" + " " * (draw == 0) for draw in draws)
    return text[: characters - 1] + "."


def write_play(root: Path, characters: int = 400, roles: Mapping[str, str] = ROLES) -> Path:
    """``input.txt`` as in Karpathy's char-rnn: each role speaks twice, in turn, ``characters`` and two line ends."""
    root.mkdir(parents=True, exist_ok=True)
    half = characters // 2
    said = {role: speech(vowel, characters) for role, vowel in roles.items()}
    speeches = [f"{role}:\n{text[:half]}\n" for role, text in said.items()]
    speeches += [f"{role}:\n{text[half:]}\n" for role, text in said.items()]
    path = root / "input.txt"
    path.write_text("\n".join(speeches), encoding="utf-8")
    return path


def leaf_samples(text: str, length: int) -> dict[str, list[str]]:
    """Every window of a text, and the character after it."""
    places = range(len(text) - length)
    return {"x": [text[at : at + length] for at in places], "y": [text[at + length] for at in places]}


def write_leaf_text(path: Path, texts: Mapping[str, str], length: int = 80) -> Path:
    """A JSON file as LEAF's ``preprocess.sh`` writes it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = {user: leaf_samples(text, length) for user, text in texts.items()}
    content = {
        "users": list(texts),
        "hierarchies": ["THE TRAGEDY OF ROMEO AND JULIET"] * len(texts),
        "num_samples": [len(of_user["y"]) for of_user in samples.values()],
        "user_data": samples,
    }
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


# Sequences with a class for each position -------------------------------------------------------------------------


def tokens(samples: int, length: int, classes: int, *, ignored: bool = True) -> TensorSamples:
    """Random token ids and labels; the end of every third sequence is padding, which has no class."""
    inputs = torch.randint(classes, (samples, length), generator=torch.Generator().manual_seed(3))
    labels = torch.randint(classes, (samples, length), generator=torch.Generator().manual_seed(4))
    if ignored:
        labels[::3, length // 2 :] = IGNORED
    return TensorSamples(inputs, labels)


def tiny(name: str, length: int, classes: int, *, per_token: bool = True) -> nn.Module:
    """A model of the package that takes no time."""
    settings = {"lstm": {"embedding": 3, "hidden": 5}, "transformer": {"width": 8, "heads": 2, "layers": 1}}[name]
    task = Task(input_shape=(length,), num_classes=classes, vocabulary=classes, per_token=per_token)
    with seeded(1):
        return models.build(name, **settings).build_for(task)
