"""The section ``data``: the data set, its split, and how images are shown to the model."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveFloat

from fedsim.config.limits import MOST_ITEMS, MOST_PIXELS
from fedsim.config.section import Section
from fedsim.settings import Schema


class PartitionSection(Section):
    """How training samples are distributed over the clients."""

    name: str = Field("dirichlet", description="how training samples are distributed over the clients")


class AugmentSection(Section):
    """One augmentation of training images."""


class NormalizeSection(Schema):
    """Statistics that images are normalised by."""

    mean: list[float] = Field(min_length=1, description="of each channel, of values from 0 to 1")
    std: list[PositiveFloat] = Field(min_length=1, description="of each channel")


class DataSection(Section):
    """The data set, its split, and how images are shown to the model."""

    name: str = Field("mnist5k", description="data set")
    root: str | None = Field(
        None, min_length=1, description="folder or file of the data, where the data set needs one"
    )
    augment: list[AugmentSection] = Field(
        default_factory=list, max_length=MOST_ITEMS, description="what is done to training images at random, in order"
    )
    resize: int | None = Field(
        None,
        ge=1,
        le=MOST_PIXELS,
        description="pixels per side of the square to which each image is first scaled, whatever its shape",
    )
    crop: int | None = Field(
        None,
        ge=1,
        le=MOST_PIXELS,
        description="pixels per side of what is cut out, at random in training, else in the middle",
    )
    resolution: int | None = Field(
        None, ge=1, le=MOST_PIXELS, description="pixels per side to which images are then scaled"
    )
    interpolation: Literal["bilinear", "bicubic"] = Field(
        "bilinear", description="how resize and resolution scale images; results depend on it"
    )
    normalize: Literal["auto", "none"] | NormalizeSection = Field(
        "auto",
        description="auto: as the model was pre-trained, else by the statistics of the data set; none; or "
        "{mean: [...], std: [...]} of the channels",
    )
    placement: Literal["auto", "device", "host"] = Field(
        "auto",
        description="where samples lie: device: on the GPU; host: in the host's memory; auto: on the GPU where they "
        "take at most half of its free memory",
    )
    validation: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="share of the training samples that nobody trains on: the model is evaluated on them, too, and "
        "best_round is chosen by them; 0: none",
    )
    imbalance: float = Field(
        1.0,
        ge=1,
        description="how many times as many training samples the first class keeps as the last: samples are left out "
        "at random, the same for every seed, so that sizes fall geometrically from class to class; 1: all stay",
    )
    partition: PartitionSection = Field(default_factory=lambda: PartitionSection(), description="partitioner")
