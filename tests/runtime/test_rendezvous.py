"""Processes that wait for each other: who comes late, who does not come, a port that is taken."""

from __future__ import annotations

import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from ssae_tf.runtime import rendezvous
from ssae_tf.runtime.rendezvous import Address, address_of, meet


@pytest.fixture
def addresses() -> dict[str, Address]:
    """Of three, at ports that are free."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    named = {f"worker {i}": one.getsockname()[:2] for i, one in enumerate(sockets)}
    for one in sockets:
        one.close()
    return named


def others(addresses: dict[str, Address], own: str) -> dict[str, Address]:
    return {name: address for name, address in addresses.items() if name != own}


def test_all_come(addresses: dict[str, Address]) -> None:
    """TensorFlow opens the ports next, so that whoever comes last still finds them."""

    def come(name: str) -> tuple[list[str], socket.socket]:
        port = addresses[name][1]
        return meet(port, others(addresses, name), 60.0, list), socket.create_server(("", port))

    with ThreadPoolExecutor(3) as pool:
        met = list(pool.map(come, addresses))
    for _, port in met:
        port.close()
    assert [missing for missing, _ in met] == [[], [], []]


def test_who_has_not_come_is_named(
    addresses: dict[str, Address], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rendezvous, "_PATIENCE", 0.0)
    told: list[list[str]] = []
    say: Callable[[list[str]], None] = told.append
    with socket.create_server(addresses["worker 1"]):
        missing = meet(addresses["worker 0"][1], others(addresses, "worker 0"), 0.5, say)
    assert missing == ["worker 2"]
    assert told == [["worker 2"]]


def test_a_port_that_is_taken(addresses: dict[str, Address]) -> None:
    port = addresses["worker 0"][1]
    with socket.create_server(("", port)), pytest.raises(OSError, match="Address already in use"):
        meet(port, others(addresses, "worker 0"), 60.0, list)


@pytest.mark.parametrize(
    ("text", "address"),
    [("host0:2222", ("host0", 2222)), ("[::1]:80", ("::1", 80)), ("10.0.0.1:1", ("10.0.0.1", 1))],
)
def test_addresses(text: str, address: Address) -> None:
    assert address_of(text) == address


@pytest.mark.parametrize("text", ["host0", "host0:", ":2222", "host0:http", "host0:0", "a:65536"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        address_of(text)
