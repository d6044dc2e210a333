"""Folders that the library ``datasets`` has saved: one, one for each side, or one for each client."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fedsim.data.images.walk import subfolders
from fedsim.data.own.array_names import SIDES, TEST, TRAIN, VALIDATION
from fedsim.errors import ConfigError
from fedsim.files import read_text

OF_A_DATASET, OF_SEVERAL = "state.json", "dataset_dict.json"

REPAIR = "save it by dataset.save_to_disk(FOLDER) of the library datasets"


@dataclass(frozen=True)
class SavedFolder:
    """A folder that holds one saved data set.

    Attributes:
        side: what it is for.
        client: whose it is; empty if nobody's.
    """

    path: Path
    side: str
    client: str = ""

    @property
    def files(self) -> list[Path]:
        """All that it consists of, sorted."""
        return sorted(path for path in self.path.iterdir() if path.suffix in (".json", ".arrow"))


def find_saved_folders(root: Path) -> tuple[list[SavedFolder], list[SavedFolder]]:
    """The folders to train on, and those to test on.

    ``root`` may be what ``save_to_disk`` wrote of a ``Dataset`` or a ``DatasetDict``, or hold several such folders.
    One that is called like a side (``test``, ``server_val``) is of that side; any other is a client's, as
    ``partition_0``, which the command ``flwr-datasets create`` writes.

    Raises:
        ConfigError: there is none to train on, or a folder is damaged.
    """
    try:
        found = list(_below(root, "", ""))
        if not found:
            for folder in subfolders(root):
                side, client = _by_name(folder.name)
                found += _below(folder, side, client)
    except (OSError, ValueError) as error:
        raise ConfigError("root", f"cannot read {root}: {error}", REPAIR) from None
    train = [saved for saved in found if saved.side == TRAIN]
    test = [saved for saved in found if saved.side == TEST] or [saved for saved in found if saved.side == VALIDATION]
    if not train:
        what = ", ".join(saved.path.name for saved in found)
        problem = f"nothing in {root} is for training (found: {what})" if found else f"{root} holds no saved data set"
        raise ConfigError("root", problem, REPAIR)
    names = _numbers_of_clients([saved.client for saved in found if saved.client])
    return [_with_client(saved, names) for saved in train], [_with_client(saved, names) for saved in test]


def _below(folder: Path, side: str, client: str) -> Iterator[SavedFolder]:
    """The data sets that one call of ``save_to_disk`` has left in a folder; none if it left nothing there."""
    if (folder / OF_A_DATASET).is_file():
        yield SavedFolder(folder, side or TRAIN, client)
    elif (folder / OF_SEVERAL).is_file():
        for split in _splits(folder / OF_SEVERAL):
            its_side = next((SIDES[word] for word in _words(split) if word in SIDES), None)
            if its_side is not None:
                yield SavedFolder(folder / split, its_side, client)


def _splits(path: Path) -> list[str]:
    """The names of the splits; ValueError if the file holds none."""
    content = json.loads(read_text(path))
    splits = content.get("splits") if isinstance(content, dict) else None
    if not isinstance(splits, list) or not all(isinstance(split, str) for split in splits):
        raise ValueError(f"{path.name} lists no splits")
    return splits


def _by_name(name: str) -> tuple[str, str]:
    """The side and the client that a folder's name says.

    >>> _by_name("partition_3"), _by_name("server_val"), _by_name("client_0_test")
    (('train', 'partition_3'), ('val', ''), ('test', 'client_0'))
    """
    words = _words(name)
    side = next((SIDES[word] for word in words if word in SIDES), None)
    if side is None:
        return TRAIN, name
    rest = "_".join(word for word in words if word not in SIDES)
    return side, rest if re.search(r"\d", rest) else ""


def _words(name: str) -> list[str]:
    return [word for word in re.split(r"[\W_]+", name.lower()) if word]


def _numbers_of_clients(names: Sequence[str]) -> Mapping[str, str]:
    """Clients by their numbers, where all names are alike but for one number; else by their names."""
    names = list(dict.fromkeys(names))
    numbers = {name: re.findall(r"\d+", name) for name in names}
    alike = len({re.sub(r"\d+", "#", name) for name in names}) == 1 and all(map(len, numbers.values()))
    if alike and all(len(found) == 1 for found in numbers.values()):
        return {name: str(int(found[0])) for name, found in numbers.items()}
    return {name: name for name in names}


def _with_client(saved: SavedFolder, names: Mapping[str, str]) -> SavedFolder:
    return SavedFolder(saved.path, saved.side, names.get(saved.client, ""))
