"""The local work of a client, by a Trainer and by a plain loop."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fedsim.data import TensorSamples
from fedsim.data.inputs import Inputs
from fedsim.seeds import derive_generator, derive_seed, seeded
from fedsim.training.client import ClientData, LocalWork, Trainer, batches
from fedsim.training.local_steps import StepRules
from fedsim.training.losses.cross_entropy import CrossEntropy
from fedsim.training.optimizers import optimizer_maker
from fedsim.updates.model_rows import ModelRows
from support.randomness import draws

CPU = torch.device("cpu")
CLASSES = 4
LR = 0.1


def classes(seed: int, count: int) -> Tensor:
    return torch.randint(CLASSES, (count,), generator=torch.Generator().manual_seed(seed))


COUNT = 23
SEED, ROUND, CLIENT = 5, 3, 1
SHARES = [torch.arange(4), torch.tensor([19, 3, 22, 8, 15, 4, 11, 20, 0, 17, 6, 9, 13])]


def mlp() -> nn.Module:
    with seeded(1):
        return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Dropout(0.25), nn.Linear(8, CLASSES))


def smooth() -> nn.Module:
    """Without dropout, which draws differently for every cut of a batch."""
    with seeded(1):
        return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, CLASSES))


def conv() -> nn.Module:
    """With a smooth activation: the kink of ReLU makes a large difference of a small one."""
    with seeded(1):
        return nn.Sequential(
            nn.Conv2d(3, 5, 3, padding=1), nn.BatchNorm2d(5), nn.Tanh(), nn.Flatten(), nn.Linear(80, CLASSES)
        )


MakeModel = Callable[[], Any]


def samples_for(make: MakeModel, scale: float = 1.0) -> TensorSamples:
    shape = (COUNT, 3, 4, 4) if make is conv else (COUNT, 6)
    return TensorSamples(scale * draws(20, *shape), torch.arange(COUNT) % CLASSES)


def rules(**changes: Any) -> StepRules:
    return StepRules(**{"loss": CrossEntropy(), **changes})


def work(**changes: Any) -> LocalWork:
    usual = {"epochs": 2, "steps": None, "batch_size": 5, "send": "delta"}
    return LocalWork(**{**usual, "make_optimizer": optimizer_maker("sgd", {"lr": LR}, "x"), **changes})


class Trained:
    """What a Trainer leaves: the row, the loss and the model."""

    def __init__(self, make: MakeModel, given: LocalWork, samples: TensorSamples | None = None, **at: Any) -> None:
        samples = samples or samples_for(make)
        self.model: Any = make()
        self.rows = ModelRows(self.model)
        self.state = at.get("state", torch.cat(self.rows.read()))
        self.out = torch.full_like(self.state, torch.nan)
        trainer = Trainer(
            self.rows,
            ClientData(Inputs(samples), SHARES, lambda client, round_index: samples.labels[SHARES[client]]),
            given,
            SEED,
        )
        self.loss = trainer.update(CLIENT, at.get("round_index", ROUND), self.state, self.out)

    @property
    def after(self) -> Tensor:
        return torch.cat(self.rows.read())


class Plain:
    """The same by a plain loop.

    Args:
        extra: what is added to the loss, from the model and its parameters at the start.
        before_step: called with the parameters when their gradients are there.
    """

    def __init__(
        self,
        make: MakeModel,
        given: LocalWork,
        *,
        lr: float = LR,
        optimizer: Callable[..., torch.optim.Optimizer] = torch.optim.SGD,
        weights: Tensor | None = None,
        round_index: int = ROUND,
        extra: Callable[[nn.Module, Sequence[Tensor]], Tensor] | None = None,
        before_step: Callable[[Sequence[nn.Parameter]], Any] | None = None,
        model: nn.Module | None = None,
    ) -> None:
        samples, share = samples_for(make), SHARES[CLIENT]
        self.model = model or make()
        self.model.train()
        start = [parameter.detach().clone() for parameter in self.model.parameters()]
        stepper, self.losses = optimizer(self.model.parameters(), lr=lr), []
        with seeded(derive_seed(SEED, "local work", round_index, CLIENT)):
            for batch in batches(len(share), given, derive_generator(SEED, "batches", round_index, CLIENT)):
                stepper.zero_grad()
                inputs, labels = samples.inputs[share[batch]], samples.labels[share[batch]]
                loss = F.cross_entropy(self.model(inputs), labels, weight=weights)
                self.losses.append(loss.item())
                (loss if extra is None else loss + extra(self.model, start)).backward()
                if before_step is not None:
                    before_step(list(self.model.parameters()))
                stepper.step()

    @property
    def after(self) -> Tensor:
        return torch.cat(ModelRows(self.model).read())
