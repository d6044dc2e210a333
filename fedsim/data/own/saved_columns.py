"""Columns of a data set of the library ``datasets``: which are inputs, labels and facts, and their values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fedsim.data.own.array_names import LABELS
from fedsim.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from datasets import Dataset

TOKENS = "input_ids"
"""What tokenizers call token ids."""

OF_TOKENIZERS = ("attention_mask", "token_type_ids", "special_tokens_mask")
"""What else they write, which is no input here."""

LONGEST_FACT = 64
"""Letters of a value that says something about a sample; longer ones are the text itself."""


def label_column(dataset: Dataset, wanted: str | None) -> str:
    """The column of labels: the one that is wanted, the only one of the type ClassLabel, or one called so.

    Raises:
        ConfigError: there is none, or there are several.
    """
    from datasets import ClassLabel

    if wanted is not None:
        require_columns(dataset, [wanted], "label")
        return wanted
    classes = [name for name, feature in dataset.features.items() if isinstance(feature, ClassLabel)]
    named = [name for name in dataset.column_names if name.lower() in LABELS]
    found = classes if len(classes) == 1 else named
    if len(found) != 1:
        problem = "several columns may be the labels" if found or classes else "no column is called label"
        raise ConfigError("label", problem, f"set it to one of {', '.join(dataset.column_names)}")
    return found[0]


def class_names_of(dataset: Dataset, label: str) -> list[str]:
    """The names of the classes, where the data set knows them."""
    feature = dataset.features[label]
    return list(getattr(getattr(feature, "feature", feature), "names", None) or [])


def input_columns(dataset: Dataset, wanted: Sequence[str], others: set[str]) -> list[str]:
    """The columns of inputs: the wanted ones, the images, the token ids, the only arrays, or all numbers.

    Args:
        others: columns that are none.

    Raises:
        ConfigError: there is none, or it is not clear which.
    """
    from datasets import Image

    if wanted:
        require_columns(dataset, wanted, "inputs")
        return list(wanted)
    names = [name for name in dataset.column_names if name not in others and name not in OF_TOKENIZERS]
    images = [name for name in names if isinstance(dataset.features[name], Image)]
    arrays = [TOKENS] if TOKENS in names else [name for name in names if _is_array(dataset.features[name])]
    for found in (images, arrays):
        if len(found) > 1:
            raise ConfigError("inputs", f"{', '.join(found)} may all be the inputs", "set it to one of them")
        if found:
            return found
    found = [name for name in names if _is_number(dataset.features[name])]
    if not found:
        texts = ", ".join(names) or "none"
        problem = f"no column holds images, token ids or numbers (found: {texts})"
        raise ConfigError("inputs", problem, "tokenize texts first: dataset.map(lambda row: tokenizer(row['text']))")
    return found


def fact_columns(dataset: Dataset, wanted: Sequence[str], others: set[str]) -> list[str]:
    """The columns that say something about samples: the wanted ones, else all of numbers and short texts."""
    if wanted:
        require_columns(dataset, wanted, "columns")
        return list(wanted)
    return [name for name in dataset.column_names if name not in others and _is_scalar(dataset.features[name])]


def require_columns(dataset: Dataset, names: Sequence[str], key: str) -> None:
    """ConfigError under ``key`` for a column that is not there."""
    for name in names:
        if name not in dataset.column_names:
            raise ConfigError(key, f"there is no column '{name}'", did_you_mean(name, dataset.column_names))


def values_of(dataset: Dataset, name: str) -> NDArray[Any]:
    """A column of numbers or text [N, ...].

    Raises:
        ConfigError: a value is missing, or sequences differ in length.
    """
    column = dataset.select_columns([name]).with_format("arrow")[:].column(name)
    if column.null_count:
        row = column.is_null().to_numpy().argmax()
        raise ConfigError("root", f"'{name}' has no value in row {row}", "fill it in, or leave the row out")
    if str(getattr(dataset.features[name], "dtype", "")).endswith("string"):
        return np.array(column.to_pylist(), dtype=np.str_)
    values = dataset.with_format("numpy", columns=[name])[:][name]
    if values.dtype == object:
        remedy = "pad and cut them to one, for example by tokenizer(..., padding='max_length', truncation=True)"
        raise ConfigError("root", f"the sequences in '{name}' differ in length", remedy)
    return values


def facts_of(dataset: Dataset, name: str) -> NDArray[Any] | None:
    """A column as text [N], empty where it has no value; None for one of long texts."""
    column = dataset.select_columns([name]).with_format("arrow")[:].column(name)
    texts = ["" if value is None else str(value) for value in column.to_pylist()]
    return np.array(texts, dtype=np.str_) if max(map(len, texts), default=0) <= LONGEST_FACT else None


def _is_number(feature: Any) -> bool:
    """Whether each value is one number, and no class."""
    dtype = str(getattr(feature, "dtype", ""))
    return (
        _is_scalar(feature) and not hasattr(feature, "names") and dtype.startswith(("int", "uint", "float", "bool"))
    )


def _is_scalar(feature: Any) -> bool:
    from datasets import ClassLabel, Value

    return isinstance(feature, Value | ClassLabel)


def _is_array(feature: Any) -> bool:
    """Whether each value is an array or list of numbers."""
    if hasattr(feature, "shape"):
        return True
    inner = getattr(feature, "feature", None)
    return inner is not None and (_is_number(inner) or _is_array(inner))
