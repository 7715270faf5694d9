"""One exchange over HTTP, limited in time and size whatever the other side does."""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
from concurrent import futures
from urllib.parse import quote, urlsplit

from ssae_tf.errors import InputError, RunError, one_line


def check_address(address: str) -> None:
    """Raises an InputError for what is no http://host:port or https://host:port."""
    try:
        parts = urlsplit(address)
        is_one = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_one = False
    if not is_one:
        raise InputError(f"Expected an address http://host:port. Received: {address!r}.")


def post_json(address: str, path: str, body: bytes, seconds: float, most: int) -> tuple[int, bytes]:
    """Sends JSON and waits for the answer; redirections are not followed.

    Args:
        address: as `check_address` takes it.
        path: below the address, from "/" on.
        seconds: for all of it: finding the host, connecting, sending and receiving.
        most: bytes that the answer may have.

    Returns:
        The status and the content.

    Raises:
        RunError: no answer in time, none that is complete, or a larger one.
    """
    sockets: list[socket.socket] = []
    answer: futures.Future[tuple[int, bytes]] = futures.Future()

    def exchange() -> None:
        try:
            answer.set_result(_exchange(address, path, body, seconds, most, sockets))
        except BaseException as error:
            answer.set_exception(error)

    # A socket's own time-out begins anew with every byte, and there is none for finding a host:
    # only another thread can end the wait for a server that sends a byte now and then.
    threading.Thread(target=exchange, daemon=True).start()
    try:
        return answer.result(seconds)
    except RunError as error:
        raise RunError(f"{address}: {error}") from None
    except (TimeoutError, futures.TimeoutError):
        raise RunError(f"{address}: no whole answer within {seconds:g} s.") from None
    except Exception as error:
        raise RunError(f"{address}: no answer of TF Serving ({one_line(error)}).") from None
    finally:
        # Ends that thread as well.
        for one in sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


def _exchange(
    address: str, path: str, body: bytes, seconds: float, most: int, sockets: list[socket.socket]
) -> tuple[int, bytes]:
    parts = urlsplit(address)
    is_secure = parts.scheme == "https"
    kind = http.client.HTTPSConnection if is_secure else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=seconds)
    with contextlib.closing(connection):
        connection.connect()
        sockets.append(connection.sock)
        headers = {"Content-Type": "application/json"}
        connection.request("POST", quote(parts.path + path, safe="/:%"), body, headers)
        with connection.getresponse() as response:
            return response.status, _content(response, most)


def _content(response: http.client.HTTPResponse, most: int) -> bytes:
    content = b"" if (response.length or 0) > most else response.read(most + 1)
    if len(content) > most or (response.length or 0) > most:
        raise RunError(f"the answer has more than the {most} bytes that the image allows.")
    # Reading a given number of bytes, the library takes a cut connection for the end.
    if response.length:
        raise http.client.IncompleteRead(content, response.length)
    return content
