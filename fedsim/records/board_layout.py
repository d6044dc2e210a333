"""The charts of TensorBoard's tab "Custom Scalars": one for each question that takes more than one curve.

Single curves have their charts in "Time Series" and are not repeated here. TensorBoard joins the layouts of all runs
that are loaded: charts that are equal become one, and charts of a category that the first run lacks may be lost. So
every run has the same categories, and a chart depends on its name only.
"""

import re
from collections.abc import Iterable

SINGLE = "zoom_in_on_clients"
"""Group of the curves of single clients; TensorBoard sorts groups by name, and these should come last."""

SOMETIMES = ("cosine_to_honest",)
"""Values of clients that have a chart even if the first round does not have them (``tracking.diagnose_every``)."""

Charts = dict[str, list[str | list[str]]]


def layout(clients: Iterable[str], metrics: Iterable[str], *, classes: bool, single: bool) -> dict[str, Charts]:
    """Charts by category, as ``add_custom_scalars`` takes them: the tags of a chart are regular expressions.

    Args:
        clients: names of the values that each client has.
        metrics: names of the run's further metrics.
        classes: whether there are curves of each class.
        single: whether there are curves of single clients.
    """
    quality = {
        "accuracy: all samples, mean and worst client": "(accuracy|validation)/(|(mean|worst)_client_)accuracy$",
        "loss: test and training": "accuracy/(loss|train_loss)$",
        **({"recall of each class": "recall/"} if classes else {}),
        **{name: rf"metrics/{re.escape(name)}($|\.)" for name in metrics},
    }
    names = dict.fromkeys([*clients, *SOMETIMES])
    sides = {name: f"clients/{re.escape(name)}/" for name in names}
    zoom = {f"{name} of single clients": f"{SINGLE}/{re.escape(name)}/" for name in names if single}
    questions = {"quality": quality, "honest against Byzantine clients": {**sides, **zoom}}
    return {
        category: {title: ["Multiline", [tag]] for title, tag in charts.items()}
        for category, charts in questions.items()
    }
