"""The numbers of a round under flat names, as data frames and loggers have them."""

from fedsim.records.round_record import OF_CLASSES, RoundRecord


def numbers_of(record: RoundRecord) -> dict[str, float | None]:
    """Everything that is one number of the round; None, NaN and infinity are among the values.

    >>> record = RoundRecord(round=1, train_loss=2.0, server={"step_norm": 0.5}, times={"gather": 0.1})
    >>> found = numbers_of(record)
    >>> found["round"], found["train_loss"], found["server.step_norm"], found["times.gather"], found["accuracy"]
    (1, 2.0, 0.5, 0.1, None)
    """
    quality = {name: value for name, value in vars(record.quality).items() if name not in OF_CLASSES}
    return {
        "round": record.round,
        **quality,
        **{f"validation.{name}": value for name, value in record.validation.items()},
        "train_loss": record.train_loss,
        "attack.share": record.attack.share,
        "nonfinite_clients": len(record.nonfinite_clients),
        **{f"metrics.{name}": value for name, value in record.metrics.items()},
        **{f"server.{name}": value for name, value in record.server.items()},
        **{f"times.{name}": value for name, value in record.times.items()},
    }


def client_numbers_of(record: RoundRecord) -> dict[str, float | None]:
    """The numbers of each client.

    >>> client_numbers_of(RoundRecord(round=1, train_loss=None, clients={"trust": {0: 1.0, 7: 0.5}}))
    {'clients.trust.0': 1.0, 'clients.trust.7': 0.5}
    """
    return {
        f"clients.{name}.{client}": value
        for name, by_client in record.clients.items()
        for client, value in by_client.items()
    }
