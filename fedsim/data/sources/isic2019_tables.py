"""The tables of Fed-ISIC2019: which image is of what class, from which centre, and in which fold."""

from collections.abc import Sequence
from pathlib import Path

import torch

from fedsim.data.formats.table import Row, is_missing, read_table, rows_by_key
from fedsim.data.images.class_folders import held_out
from fedsim.errors import ConfigError

CLASSES = ("MEL", "NV", "BCC", "AK", "BKL", "DF", "VASC", "SCC")

CENTERS = ("BCN_", "HAM_vidir_molemax", "HAM_vidir_modern", "HAM_rosendahl", "MSK4", "HAM_vienna_dias")
"""FLamby's six centres in its order: the beginning of a lesion's name, and for HAM10000 its part."""

METADATA, TRUTH = "ISIC_2019_Training_Metadata.csv", "ISIC_2019_Training_GroundTruth.csv"
HAM_METADATA = "HAM10000_metadata"

SPLIT_NAMES = ("train_test_split", "train_test_split.csv", "train_test_folds.csv")
"""FLamby's split file, under the names that it has had."""

OWN_SPLIT = "fedsim_split.csv"

FLAMBY = "https://github.com/owkin/FLamby/blob/main/flamby/datasets/fed_isic2019"
SPLIT_URL = f"{FLAMBY}/dataset_creation_scripts/train_test_split"
HAM_URL = f"{FLAMBY}/HAM10000_metadata"
ISIC_URL = "https://challenge.isic-archive.com/data/#2019"

TEST_SHARE = 0.2


def split_file(root: Path, *, own_fold: bool) -> Path:
    """The split file in ``root``; ConfigError if there is none."""
    for name in (OWN_SPLIT,) if own_fold else SPLIT_NAMES:
        if (root / name).is_file():
            return root / name
    if own_fold:
        remedy = f"`python -m fedsim.prepare fed_isic2019 --root {root} own_fold=true` draws it"
        raise ConfigError("root", f"there is no file {root / OWN_SPLIT}", remedy)
    remedy = f"copy it there from {SPLIT_URL}, or set own_fold: true for a fold of ours"
    raise ConfigError("root", f"there is no file {root / SPLIT_NAMES[0]}", remedy)


def read_split_rows(path: Path) -> list[Row]:
    """The rows of a split file: ``image``, ``target``, ``center`` and ``fold``, each checked.

    Raises:
        ConfigError: the file is damaged; the message names the line.
    """
    repair = f"copy it again from {SPLIT_URL}"
    if path.name == OWN_SPLIT:
        repair = (
            f"remove it; `python -m fedsim.prepare fed_isic2019 --root {path.parent} own_fold=true` draws it again"
        )
    rows = read_table(path, ["image", "target", "center", "fold"], repair)
    for row in rows_by_image(path, rows, "image", repair).values():
        problem = _problem(row)
        if problem:
            raise ConfigError("root", f"{path}, line {row.line}: {problem}", repair)
    for fold in ("train", "test"):
        if all(row["fold"] != fold for row in rows):
            raise ConfigError("root", f"{path} has no row whose fold is {fold}", repair)
    return rows


def rows_by_image(path: Path, rows: Sequence[Row], key: str, repair: str) -> dict[str, Row]:
    """The rows of a table by the image that they are of, whose name must be no path.

    Raises:
        ConfigError: a name is bad or there twice; the message names the line.
    """
    for row in rows:
        if not row[key].replace("_", "").isalnum() or not row[key].isascii():
            raise ConfigError("root", f"{path}, line {row.line}: '{row[key]}' is no name of an image", repair)
    return rows_by_key(path, rows, key, "image", repair)


def _problem(row: Row) -> str | None:
    if row["target"] not in map(str, range(len(CLASSES))):
        return f"target '{row['target']}' is no class from 0 to {len(CLASSES) - 1}"
    if is_missing(row["center"]):
        return "no center"
    if row["fold"] not in ("train", "test"):
        return f"fold '{row['fold']}' is neither train nor test"
    return None


def draw_split(root: Path) -> list[Row]:
    """Class, centre and fold of each image, from the challenge's own tables: a fifth of each centre is for testing.

    The official fold was drawn without a seed, so this is another one.

    Raises:
        ConfigError: a table is missing or damaged; the message says where it is published.
    """
    again, ham_repair = f"take it again from {ISIC_URL}", f"copy it there from {HAM_URL}"
    truth = _table_by_image(root / TRUTH, "image", CLASSES, again)
    metadata = _table_by_image(root / METADATA, "image", ["lesion_id"], again)
    parts = _table_by_image(root / HAM_METADATA, "image_id", ["dataset"], ham_repair)
    rows: list[Row] = []
    for name, row in metadata.items():
        lesion = row["lesion_id"]
        if is_missing(lesion):
            continue  # the centre is not known: FLamby leaves these out too
        if name not in truth:
            raise ConfigError("root", f"{root / TRUTH} has no row for {name}", again)
        center = lesion[:4] + (parts[name]["dataset"] if name in parts else "")
        if center not in CENTERS:
            problem = f"{root / HAM_METADATA} does not name the centre of {name} ('{lesion}')"
            raise ConfigError("root", problem, ham_repair)
        target = _target(truth[name], root, again)
        rows.append(Row({"image": name, "target": target, "center": str(CENTERS.index(center))}))
    if not rows:
        raise ConfigError("root", f"{root / METADATA} names no lesion", again)
    drawn = _with_fold(rows)
    if all(row["fold"] == "train" for row in drawn):
        problem = f"{root / METADATA} names one image of each centre, so none can be held out for testing"
        raise ConfigError("root", problem, again)
    return drawn


def _table_by_image(path: Path, key: str, columns: Sequence[str], repair: str) -> dict[str, Row]:
    return rows_by_image(path, read_table(path, [key, *columns], repair), key, repair)


def _target(row: Row, root: Path, again: str) -> str:
    positive = [number for number, name in enumerate(CLASSES) if row[name] in ("1", "1.0")]
    if len(positive) != 1:
        raise ConfigError("root", f"{root / TRUTH} gives {row['image']} {len(positive)} classes", again)
    return str(positive[0])


def _with_fold(rows: Sequence[Row]) -> list[Row]:
    for_test = held_out(torch.tensor([int(row["center"]) for row in rows]), TEST_SHARE, seed=0).tolist()
    return [Row({**row, "fold": "test" if test else "train"}) for row, test in zip(rows, for_test, strict=True)]
