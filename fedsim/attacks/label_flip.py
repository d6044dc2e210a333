"""Label flipping: poisoned data, honest training."""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from fedsim.attacks.base import Attack, AttackView, attacks
from fedsim.registry import Reference
from fedsim.settings import Schema


@attacks.register(
    "label_flip",
    Reference(
        authors="Biggio, Nelson and Laskov",
        title="Poisoning Attacks against Support Vector Machines",
        year=2012,
        venue="ICML",
        url="https://arxiv.org/abs/1206.6389",
    ),
)
class LabelFlip(Attack):
    """Trains honestly on flipped labels and sends the update that results.

    The label y of C classes, numbered from 0, becomes

        reverse:  C - 1 - y
        random:   another class, uniformly drawn, the same for a sample in every round
        pairs:    2i for 2i + 1 and the other way round; an odd last class stays

    for every training sample of the B Byzantine clients. Nothing else is changed: no formula makes the row, and no
    knowledge of the others is needed. With ``reverse`` and an odd C the middle class keeps its label.

    The row is as long as an honest one and correct in all that does not depend on the labels, so that it is hard to
    tell from an honest client with unusual data. It is also weak: it pulls towards a wrong model only by its share of
    rows.

    The original chooses, by gradient ascent, points with a flipped label to add to the data of a support vector
    machine. Flipping all labels is the form that the field, the FedSECA paper included, refers to by this name.

    >>> LabelFlip().poison_labels(torch.tensor([0, 1, 9]), 10, torch.Generator())
    tensor([9, 8, 0])
    """

    class Settings(Schema):
        mode: Literal["reverse", "random", "pairs"] = Field(
            "reverse",
            description="reverse: C-1-y; random: another class, fixed per sample; "
            "pairs: 2i <-> 2i+1, an odd last class unchanged",
        )

    settings: Settings
    trains = True
    sees_honest = False
    poisons_data = True
    shardable = True

    def craft(self, view: AttackView) -> Tensor:
        return view.own.local_rows().clone()

    def poison_labels(self, labels: Tensor, num_classes: int, generator: torch.Generator) -> Tensor:
        return {"reverse": _reverse, "random": _random, "pairs": _pairs}[self.settings.mode](
            labels, num_classes, generator
        )


def _reverse(labels: Tensor, num_classes: int, generator: torch.Generator) -> Tensor:
    return num_classes - 1 - labels


def _random(labels: Tensor, num_classes: int, generator: torch.Generator) -> Tensor:
    shift = torch.randint(1, max(2, num_classes), labels.shape, generator=generator)
    return (labels + shift) % num_classes


def _pairs(labels: Tensor, num_classes: int, generator: torch.Generator) -> Tensor:
    partner = labels ^ 1
    return torch.where(partner < num_classes, partner, labels)
