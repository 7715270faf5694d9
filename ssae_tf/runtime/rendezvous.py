"""Waits until all processes of a cluster have come: who has come answers at its port.

TensorFlow waits without end, in native code that no signal reaches, and does not say for whom.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Mapping

# Seconds between two looks, until an address counts as silent, and until the missing are named.
_NAP, _SILENT, _PATIENCE = 0.2, 2.0, 5.0

Address = tuple[str, int]


def address_of(text: str) -> Address:
    """Host and port of HOST:PORT.

    Raises:
        ValueError: it is something else.
    """
    host, _, port = text.rpartition(":")
    if not host or not 0 < int(port) < 65536:
        raise ValueError(text)
    return host.strip("[]"), int(port)


def meet(
    port: int, others: Mapping[str, Address], seconds: float, say: Callable[[list[str]], None]
) -> list[str]:
    """Answers at a port until all others have answered, at theirs, here.

    Args:
        port: free; it is again at the end.
        others: name -> address.
        seconds: to wait at most.
        say: called once, after some seconds, with the names of those that are missing.

    Returns:
        The names of those that have not come.

    Raises:
        OSError: the port is taken.
    """
    missing, begin, is_told = dict(others), time.monotonic(), False
    with _listening(port, len(others)):
        while True:
            missing = {name: one for name, one in missing.items() if not _answers(one)}
            waited = time.monotonic() - begin
            if not missing or waited > seconds:
                return list(missing)
            if not is_told and waited > _PATIENCE:
                say(list(missing))
                is_told = True
            time.sleep(_NAP)


def _listening(port: int, others: int) -> socket.socket:
    # Nobody is let in: that the system takes a connection is the answer.
    waiting = others + 8
    if socket.has_dualstack_ipv6():
        with contextlib.suppress(OSError):
            return socket.create_server(
                ("", port), family=socket.AF_INET6, backlog=waiting, dualstack_ipv6=True
            )
    return socket.create_server(("", port), backlog=waiting)


def _answers(address: Address) -> bool:
    try:
        socket.create_connection(address, timeout=_SILENT).close()
    except OSError:
        return False
    return True
