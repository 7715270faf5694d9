"""Servers that answer wrongly, too much, too slowly or not at all: errors, and never a verdict."""

from __future__ import annotations

import contextlib
import json
import math
import socket
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mutations import Server, framed, in_chunks
from ssae_tf.errors import InputError, RunError
from ssae_tf.export.client import Client

HEIGHT, WIDTH = 12, 16
PICTURE = np.zeros((HEIGHT, WIDTH, 3), np.uint8)


def outputs(**changes: Any) -> dict[str, Any]:
    """What a model of this package answers about `PICTURE`; None leaves an output out."""
    whole = {
        "anomaly_map": np.full((1, HEIGHT, WIDTH), 0.25).tolist(),
        "threshold": [0.5],
        "min_area": [4],
        "reconstruction": np.zeros((1, HEIGHT, WIDTH, 3)).tolist(),
        "score_bound": [0.25],
        "is_anomalous": [False],
    }
    return {name: value for name, value in (whole | changes).items() if value is not None}


def content(**changes: Any) -> bytes:
    return json.dumps({"outputs": outputs(**changes)}).encode()


def ask(server: Server, answer: bytes | Callable[[socket.socket], None], **settings: Any) -> Any:
    server.answer = answer if callable(answer) else lambda connection: connection.sendall(answer)
    with Client(server.address, "tile", **{"timeout": 60, **settings}) as client:
        return client.predict(PICTURE)


@pytest.mark.parametrize("frame", [framed, in_chunks, lambda body: framed(body, length=-1)])
def test_answers_that_are_right(frame: Callable[[bytes], bytes], server: Server) -> None:
    result = ask(server, frame(content()))
    assert (result.score, result.threshold, result.is_anomalous) == (0.25, 0.5, False)
    result = ask(server, frame(content(threshold=[0.125], outline=[0.5], reconstruction=None)))
    assert result.is_anomalous
    assert result.reconstruction is None
    assert [defect.area for defect in result.defects] == [HEIGHT * WIDTH]


def _map(value: Any) -> list[Any]:
    values: list[Any] = np.full((1, HEIGHT, WIDTH), 0.25).tolist()
    values[0][3][5] = value
    return values


@pytest.mark.parametrize(
    "changes",
    [
        *({"threshold": [value]} for value in (math.nan, math.inf, -1, "0.5", True, None, [0.5])),
        *({"threshold": value} for value in (None, [], [0.5, 0.5], 0.5, {})),
        *({"min_area": value} for value in (None, [], [0], [-1], [2.5], ["4"], [10**30], [193])),
        *({"outline": [value]} for value in (math.nan, -1, 0, 1.5, None, "0.5")),
        *({"anomaly_map": _map(value)} for value in (math.nan, math.inf, -1, True, "1", None, [])),
        *({"anomaly_map": _map(value)} for value in (1e300, 10**400)),
        {"anomaly_map": None},
        {"anomaly_map": 0.5},
        {"anomaly_map": []},
        {"anomaly_map": np.zeros((1, 6, 8)).tolist()},
        {"anomaly_map": np.zeros((1, WIDTH, HEIGHT)).tolist()},
        {"anomaly_map": np.zeros((2, HEIGHT, WIDTH)).tolist()},
        {"anomaly_map": np.zeros((1, HEIGHT, WIDTH, 1)).tolist()},
        {"anomaly_map": [[[0.0] * WIDTH] * (HEIGHT - 1) + [[0.0]]]},
        {"reconstruction": np.zeros((1, 6, 8, 3)).tolist()},
        {"reconstruction": np.zeros((1, HEIGHT, WIDTH)).tolist()},
    ],
)
def test_numbers_that_judge_nothing(changes: dict[str, Any], server: Server) -> None:
    missing = {name for name, value in changes.items() if value is None}
    body = json.dumps({"outputs": outputs(**changes) | ({} if missing else changes)}).encode()
    with pytest.raises(RunError) as caught:
        ask(server, framed(body))
    assert str(caught.value).startswith(server.address)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"null", b"[]", b"{}", b"<html>", b"\xff\xfe", b'{"outputs": 3}', b"[" * 50_000),
        content()[:-1],
        content() + b"}",
    ],
)
def test_content_that_is_no_answer(body: bytes, server: Server) -> None:
    with pytest.raises(RunError, match="no answer of TF Serving"):
        ask(server, framed(body))


@pytest.mark.parametrize("kept", [0, 10, 60, 100, -8])
def test_a_connection_that_is_cut(kept: int, server: Server) -> None:
    for whole in (framed(content()), in_chunks(content())):
        with pytest.raises(RunError, match="no answer of TF Serving"):
            ask(server, whole[:kept])


def test_a_cut_behind_the_last_brace(server: Server) -> None:
    with pytest.raises(RunError, match=r"no answer of TF Serving \(IncompleteRead"):
        ask(server, framed(content(), length=len(content()) + 9))


def _drip(start: bytes, rest: bytes) -> Callable[[socket.socket], None]:
    """A byte now and then for ten seconds, each long before the time-out, then all of it."""

    def answer(connection: socket.socket) -> None:
        connection.sendall(start)
        for _ in range(200):
            time.sleep(0.05)
            connection.sendall(b" ")
        connection.sendall(rest)

    return answer


_ANSWER = framed(content() + b" " * 200)


@pytest.mark.parametrize(
    ("start", "rest"),
    [
        (b"", b""),
        (b"HTTP/1.1 200 OK\r\nX:", b"y\r\n" + framed(content()).partition(b"\r\n")[2]),
        (_ANSWER[: _ANSWER.index(b"{")], content()),
        # Complete, but for the blanks that were announced.
        (_ANSWER[:-200], b""),
        (framed(content(), length=-1), b""),
    ],
)
def test_bytes_that_drip(start: bytes, rest: bytes, server: Server) -> None:
    """Each begins a socket's own time-out anew."""
    with pytest.raises(RunError, match=r"no whole answer within 0\.5 s"):
        ask(server, _drip(start, rest), timeout=0.5)


def test_nobody_answers(server: Server) -> None:
    with pytest.raises(RunError, match=r"no whole answer within 0\.3 s"):
        ask(server, lambda connection: time.sleep(3), timeout=0.3)


def test_answers_larger_than_the_image_allows(server: Server) -> None:
    message = "the answer has more than the 1073152 bytes that the image allows"
    with pytest.raises(RunError, match=message):
        ask(server, framed(content(), length=10**12))
    sent = []

    def endless(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        with contextlib.suppress(OSError):
            while len(sent) < 1000:
                connection.sendall(b" " * (1 << 20))
                sent.append(1)

    with pytest.raises(RunError, match=message):
        ask(server, endless)
    # What the connection holds, and not a gigabyte.
    assert len(sent) < 100


def test_redirections_are_not_followed(server: Server) -> None:
    other = Server()
    asked = []
    other.answer = asked.append
    answer = framed(b"", status=f"307 Moved\r\nLocation: {other.address}")
    with pytest.raises(RunError, match="307, no reason given"):
        ask(server, answer)
    other.close()
    assert not asked


def test_what_a_server_says_does_not_move_the_cursor(server: Server) -> None:
    body = json.dumps({"error": "\x1b[2Jgone"}).encode()
    with pytest.raises(RunError) as caught:
        ask(server, framed(body, status="400 Bad"))
    assert str(caught.value) == f"{server.address}: 400, �[2Jgone."


def test_names_are_quoted(server: Server) -> None:
    server.answer = lambda connection: connection.sendall(framed(content()))
    with Client(f"{server.address}/below/", "my tile?#é", timeout=60) as client:
        client.predict(PICTURE)
    assert server.paths == ["/below/v1/models/my%20tile%3F%23%C3%A9:predict"]


@pytest.mark.parametrize(
    ("arguments", "settings"),
    [
        (("http://", "tile"), {}),
        (("http://host:port", "tile"), {}),
        (("http://host:99999", "tile"), {}),
        (("http://localhost:8501", ""), {}),
        (("http://localhost:8501", "tile"), {"timeout": 0}),
        (("http://localhost:8501", "tile"), {"timeout": math.nan}),
        (("http://localhost:8501", "tile"), {"timeout": math.inf}),
        (("http://localhost:8501", "tile"), {"white_level": 0}),
    ],
)
def test_clients_that_can_not_be(arguments: tuple[str, str], settings: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"^Expected "):
        Client(*arguments, **settings)


@pytest.mark.parametrize("threshold", [math.nan, math.inf, -0.1, "0.1"])
def test_a_given_threshold_is_a_level(threshold: Any) -> None:
    client = Client("http://127.0.0.1:9", "tile")
    with pytest.raises(InputError, match="Argument `threshold` should be"):
        client.predict(PICTURE, threshold=threshold)
