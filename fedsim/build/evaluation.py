"""What judges the global model: evaluation on test and validation samples, and the rule that ends a run early."""

from collections.abc import Mapping
from typing import Any

from fedsim.build.components import Components
from fedsim.build.data import RunData
from fedsim.comm import Communicator
from fedsim.evaluation.early_stopping import EarlyStopping
from fedsim.evaluation.evaluator import Evaluator


def build_evaluator(components: Components, comm: Communicator, data: RunData) -> Evaluator:
    """Evaluation on the test samples, distributed over the ranks."""
    components.metrics.check(data.num_classes)
    return Evaluator(
        data.test_inputs(comm.device),
        data.num_classes,
        components.config.evaluation.batch_size,
        comm,
        data.test_owners,
        metrics=components.metrics,
        class_names=data.splits.class_names,
    )


def build_validator(components: Components, comm: Communicator, data: RunData) -> Evaluator | None:
    """Evaluation on the validation samples; None if there are none."""
    if len(data.validation) == 0:
        return None
    inputs = data.validation_inputs(comm.device)
    return Evaluator(inputs, data.num_classes, components.config.evaluation.batch_size, comm)


def build_stopping(components: Components, loaded: Mapping[str, Any]) -> EarlyStopping | None:
    """The rule that ends the run early, as far as it has come; None if there is none.

    Args:
        loaded: the state in the checkpoint that the run is resumed from, on rank 0.
    """
    section = components.config.stopping
    if section is None:
        return None
    rule = EarlyStopping(section.metric, section.patience, section.at_least)
    if "stopping" in loaded:
        rule.load_state_dict(loaded["stopping"])
    return rule
