"""How much of an update its largest tenth carries, on the three data sets: ``python docs/results/top_tenth.py``."""

import sys
from collections.abc import Iterator

from torch import Tensor

import fedsim
from fedsim.aggregators import Aggregator, Diagnostics, aggregators
from fedsim.updates.context import RoundContext
from fedsim.updates.matrix import UpdateMatrix

RUNS = {
    "digits": ("quickstart", "SGD"),
    "CIFAR-10": ("cifar10_small_resnet8", "SGD"),
    "skin lesions": ("fed_isic_small_squeezenet", "AdamW"),
}


@aggregators.register("top_tenth")
class TopTenth(Aggregator):
    """Mean of the updates, which also measures what a sparsity of 0.9 leaves of them."""

    def aggregate(self, updates: UpdateMatrix, context: RoundContext) -> Tensor:
        shares = []
        for client in range(updates.num_rows):
            squares = updates.row(client).double().square()
            shares.append(float(squares.topk(len(squares) // 10).values.sum() / squares.sum()))
        self.diagnostics = Diagnostics(scalars={"top_tenth": sum(shares) / len(shares)})
        return updates.mean()


def lines() -> Iterator[str]:
    """A table in Markdown: the mean over the clients and over five rounds without an attack."""
    yield "| data | optimiser of the clients | share of the squared norm in the largest tenth |"
    yield "|:---|:---|---:|"
    for data, (config, optimizer) in RUNS.items():
        settings = {"rounds": 5, "attack": "none", "aggregator": "top_tenth", "output_dir": "runs/top_tenth"}
        run = fedsim.run(f"configs/{config}.yaml", {**settings, "evaluation.every": 5}, quiet=True)
        yield f"| {data} | {optimizer} | {run.metrics['server.top_tenth'].mean():.2f} |"


if __name__ == "__main__":
    sys.stdout.write("\n".join(lines()) + "\n")
