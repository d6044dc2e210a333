"""Weights from the hub."""

import socket
import time
from contextlib import closing

import huggingface_hub
import pytest
import timm

import fedsim.main
from support.timm_weights import refused, timm_model

PRETRAINED = {"architecture": "resnet18", "pretrained": True}


@pytest.fixture
def nothing_cached(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine that has never fetched weights, with a hub that refuses connections."""
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_, **__: None)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    for name in (
        "HF_HUB_OFFLINE",
        "HTTPS_PROXY",
        "https_proxy",
        "HTTP_PROXY",
        "http_proxy",
        "ALL_PROXY",
        "all_proxy",
        "NO_PROXY",
        "no_proxy",
    ):
        monkeypatch.delenv(name, raising=False)


def no_connection(*_: object, **__: object) -> None:
    pytest.fail("tried to connect")


@pytest.mark.usefixtures("nothing_cached")
@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:9", "https://no-such-host.invalid"])
def test_a_hub_out_of_reach_is_reported_at_once(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    start = time.monotonic()
    message = refused("pretrained", timm_model("resnet18", pretrained=True).check_weights)
    assert time.monotonic() - start < 20
    for part in ("resnet18", "timm.create_model('resnet18.a1_in1k', pretrained=True)", "model.weights"):
        assert part in message
    timm_model("resnet18").check_weights()


@pytest.mark.usefixtures("nothing_cached")
def test_a_hub_that_does_not_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []

    def silent(address: tuple[str, int], timeout: float = 1e9, *_: object) -> None:
        assert address == ("127.0.0.1", 9)
        waits.append(timeout)
        raise TimeoutError

    monkeypatch.setattr(socket, "create_connection", silent)
    refused("pretrained", timm_model("resnet18", pretrained=True).check_weights)
    assert sum(waits) <= 5
    assert waits


@pytest.mark.usefixtures("nothing_cached")
@pytest.mark.parametrize("value", ["1", "true", "YES", "ON"])
def test_offline_mode_does_not_even_try(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", value)
    monkeypatch.setattr(socket, "create_connection", no_connection)
    message = refused("pretrained", timm_model("resnet18", pretrained=True).check_weights)
    assert "HF_HUB_OFFLINE" in message
    assert "resnet18" in message


@pytest.mark.usefixtures("nothing_cached")
def test_a_file_in_the_cache_needs_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def cached(repo_id: str, filename: str, *_: object, **__: object) -> str:
        asked.append(repo_id)
        return f"/cache/{filename}"

    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", cached)
    monkeypatch.setattr(socket, "create_connection", no_connection)
    for offline in ("0", "1"):
        monkeypatch.setenv("HF_HUB_OFFLINE", offline)
        timm_model("resnet18", pretrained=True).check_weights()
    assert set(asked) == {timm.get_pretrained_cfg("resnet18").hf_hub_id}


@pytest.mark.usefixtures("nothing_cached")
def test_a_file_that_the_hub_is_known_not_to_have_is_not_in_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    absent = huggingface_hub.file_download._CACHED_NO_EXIST
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_, **__: absent)
    refused("pretrained", timm_model("resnet18", pretrained=True).check_weights)


@pytest.mark.usefixtures("nothing_cached")
def test_a_hub_that_answers_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{port}")
        timm_model("resnet18", pretrained=True).check_weights()
        server.settimeout(1)
        server.accept()[0].close()  # it was asked


@pytest.mark.usefixtures("nothing_cached")
@pytest.mark.parametrize(
    ("endpoint", "address"),
    [
        (None, ("huggingface.co", 443)),
        ("https://mirror.example", ("mirror.example", 443)),
        ("https://mirror.example:8443/hf", ("mirror.example", 8443)),
        ("http://mirror.example", ("mirror.example", 80)),
    ],
)
def test_the_hub_is_looked_for_where_the_user_says(
    monkeypatch: pytest.MonkeyPatch, endpoint: str | None, address: tuple[str, int]
) -> None:
    monkeypatch.delenv("HF_ENDPOINT") if endpoint is None else monkeypatch.setenv("HF_ENDPOINT", endpoint)
    asked: list[tuple[str, int]] = []

    def answer(address: tuple[str, int], *_: object, **__: object) -> socket.socket:
        asked.append(address)
        return socket.socket()

    monkeypatch.setattr(socket, "create_connection", answer)
    timm_model("resnet18", pretrained=True).check_weights()
    assert asked == [address]


@pytest.mark.usefixtures("nothing_cached")
@pytest.mark.parametrize(
    ("variable", "endpoint"),
    [
        ("HTTPS_PROXY", "https://huggingface.co"),
        ("https_proxy", "https://mirror.example:8443"),
        ("ALL_PROXY", "https://huggingface.co"),
        ("all_proxy", "http://mirror.example"),
        ("http_proxy", "http://mirror.example"),
    ],
)
def test_a_hub_behind_a_proxy_is_within_reach(monkeypatch: pytest.MonkeyPatch, variable: str, endpoint: str) -> None:
    """On many clusters the hub is reached through a proxy only: a direct connection proves nothing."""

    def only_the_proxy(address: tuple[str, int], *_: object, **__: object) -> socket.socket:
        if address[0] != "proxy.example":
            raise OSError("Network is unreachable")
        return socket.socket()

    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    monkeypatch.setenv(variable, "http://proxy.example:3128")
    monkeypatch.setattr(socket, "create_connection", only_the_proxy)
    timm_model("resnet18", pretrained=True).check_weights()


@pytest.mark.usefixtures("nothing_cached")
@pytest.mark.parametrize(
    ("variables", "asked"),
    [
        ({"ALL_PROXY": "http://proxy.example", "no_proxy": "mirror.example"}, True),
        ({"HTTPS_PROXY": "http://proxy.example", "NO_PROXY": ".example"}, True),
        ({"http_proxy": "http://proxy.example"}, True),
        ({"ALL_PROXY": "http://proxy.example", "no_proxy": "localhost"}, False),
    ],
)
def test_a_host_for_which_there_is_no_proxy_is_asked_itself(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], asked: bool
) -> None:
    tries: list[object] = []

    def refuse(address: object, *_: object, **__: object) -> None:
        tries.append(address)
        raise OSError("Network is unreachable")

    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.example")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(socket, "create_connection", refuse)
    check = timm_model("resnet18", pretrained=True).check_weights
    if asked:
        assert "mirror.example cannot be reached" in refused("pretrained", check)
    else:
        check()
    assert bool(tries) == asked


@pytest.mark.usefixtures("nothing_cached")
@pytest.mark.parametrize("endpoint", ["mirror.example", "mirror.example:8443", "https://", "ftp://mirror.example"])
def test_an_endpoint_that_is_no_address_is_named(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    monkeypatch.setattr(socket, "create_connection", no_connection)
    message = refused("pretrained", timm_model("resnet18", pretrained=True).check_weights)
    assert f"HF_ENDPOINT is '{endpoint}'" in message
    assert "https://" in message


def test_an_architecture_without_weights_is_refused() -> None:
    config = timm.get_pretrained_cfg("resnet10t")
    without = next(
        name
        for name in timm.list_models()
        if not (config := timm.get_pretrained_cfg(name)) or not (config.hf_hub_id or config.url)
    )
    assert config
    assert without in refused("pretrained", timm_model(without, pretrained=True).check_weights)


@pytest.mark.usefixtures("nothing_cached")
def test_the_check_reports_an_unreachable_hub_in_one_message(capfd: pytest.CaptureFixture[str]) -> None:
    start = time.monotonic()
    status = fedsim.main.main(
        [
            "--check",
            "model={name: timm, architecture: resnet18, pretrained: true}",
            "data={name: synthetic, shape: [3, 32, 32]}",
        ]
    )
    assert status == 2
    assert time.monotonic() - start < 30
    out, err = capfd.readouterr()
    assert out == ""
    lines = [line for line in err.splitlines() if line]
    assert len(lines) == 1, err
    assert "configuration error: model.pretrained: " in lines[0]
