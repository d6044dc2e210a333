"""Where ranks look for each other."""

import socket

import pytest

from fedsim.comm.addresses import advice, settle_addresses
from fedsim.comm.place import RankPlace
from fedsim.errors import ConfigError

ONE_HOST, TWO_HOSTS = RankPlace(0, 2, 0, 2), RankPlace(0, 4, 0, 2)


def test_on_one_host_neither_names_nor_interfaces_matter() -> None:
    environment = {"MASTER_ADDR": "nowhere.invalid", "GLOO_SOCKET_IFNAME": "ib7"}
    settle_addresses(ONE_HOST, environment)
    assert environment == {"MASTER_ADDR": "127.0.0.1", "GLOO_SOCKET_IFNAME": "lo"}


@pytest.mark.parametrize(
    ("variable", "value"),
    [("GLOO_SOCKET_IFNAME", "ib7"), ("GLOO_SOCKET_IFNAME", "lo,ib7"), ("MASTER_ADDR", "a.invalid")],
)
def test_on_several_hosts_the_wrong_variable_is_named(variable: str, value: str) -> None:
    with pytest.raises(ConfigError, match=f"^{variable}: host .* '{value.split(',')[-1]}'"):
        settle_addresses(TWO_HOSTS, {"MASTER_ADDR": "127.0.0.1", variable: value})


def test_a_host_whose_name_means_itself_needs_an_interface(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostbyname", lambda name: "127.0.1.1")
    assert "set GLOO_SOCKET_IFNAME, because" in advice(TWO_HOSTS, {})
    assert "GLOO" not in advice(TWO_HOSTS, {"GLOO_SOCKET_IFNAME": "lo"})
