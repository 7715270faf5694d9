"""Files and answers as damage, mistakes and malice leave them; the same for the same generator."""

from __future__ import annotations

import contextlib
import http.server
import io
import json
import math
import shutil
import signal
import socket
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ssae_tf.export.manifest import file_hashes, write_sums

Mutate = Callable[[bytes, np.random.Generator], bytes]

_ODD_VALUES: tuple[Any, ...] = (
    *(math.nan, math.inf, -math.inf, -1, -0.5, 0, 1e300, 10**30, 2**31, 0.1 + 0.2, 7),
    *(True, False, None, "", "0.5", "nan", "../x", "/etc/passwd", "a\0b", [], {}, [0.5], [[]]),
    *({"a": 1}, "é" * 300),
)


def _pick(rng: np.random.Generator, choices: Any) -> Any:
    return choices[int(rng.integers(len(choices)))]


@contextlib.contextmanager
def no_hang(seconds: int = 60) -> Iterator[None]:
    """Ends what takes longer than any of these may."""

    def fail(*_: object) -> None:
        raise AssertionError(f"hangs: more than {seconds} s")

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


# Bytes.


def cut(content: bytes, rng: np.random.Generator) -> bytes:
    return content[: int(rng.integers(len(content) + 1))]


def flip(content: bytes, rng: np.random.Generator) -> bytes:
    changed = bytearray(content)
    for _ in range(int(rng.integers(1, 4))):
        changed[int(rng.integers(len(changed)))] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def insert(content: bytes, rng: np.random.Generator) -> bytes:
    at, what = int(rng.integers(len(content) + 1)), rng.bytes(int(rng.integers(1, 9)))
    return content[:at] + what + content[at:]


def lose(content: bytes, rng: np.random.Generator) -> bytes:
    first, last = sorted(int(at) for at in rng.integers(0, len(content) + 1, 2))
    return content[:first] + content[last:]


def replace_all(content: bytes, rng: np.random.Generator) -> bytes:
    nested = int(rng.integers(10, 100_000))
    deep = (b"[" * nested, b'{"a":' * nested)
    return _pick(rng, (b"", b"null", b"{}", b"[]", b"3", b"NaN", b"\xff\xfe", *deep))


BYTES: tuple[Mutate, ...] = (cut, flip, insert, lose, replace_all)


# JSON.


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """(container, key) of everything inside."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in items:
        yield value, key
        if isinstance(inner, (dict, list)):
            yield from _places(inner)


def other_value(content: bytes, rng: np.random.Generator) -> bytes:
    values = json.loads(content)
    container, key = _pick(rng, list(_places(values)))
    container[key] = _pick(rng, _ODD_VALUES)
    return json.dumps(values).encode()


def without_key(content: bytes, rng: np.random.Generator) -> bytes:
    values = json.loads(content)
    container, key = _pick(rng, list(_places(values)))
    del container[key]
    return json.dumps(values).encode()


def another_key(content: bytes, rng: np.random.Generator) -> bytes:
    values = json.loads(content)
    container, key = _pick(rng, [one for one in _places(values) if isinstance(one[0], dict)])
    container[_pick(rng, ("schema_version", "threshold", "files", "x", ""))] = _pick(
        rng, _ODD_VALUES
    )
    container[key] = container.get(key)
    return json.dumps(values).encode()


def twice(content: bytes, rng: np.random.Generator) -> bytes:
    """A list that is too long."""
    values = json.loads(content)
    lists = [(c, k) for c, k in _places(values) if isinstance(c[k], list) and c[k]]
    if not lists:
        return cut(content, rng)
    container, key = _pick(rng, lists)
    container[key] = container[key] + [container[key][0]]
    return json.dumps(values).encode()


JSON: tuple[Mutate, ...] = (*BYTES, other_value, other_value, without_key, another_key, twice)


# Arrays.


def _saved(arrays: dict[str, Any], write: Callable[..., None] = np.savez) -> bytes:
    file = io.BytesIO()
    write(file, **arrays)
    return file.getvalue()


def _changed(change: Callable[[np.ndarray, np.random.Generator], Any]) -> Mutate:
    def mutate(content: bytes, rng: np.random.Generator) -> bytes:
        arrays = dict(np.load(io.BytesIO(content)))
        name = _pick(rng, sorted(arrays))
        arrays[name] = change(arrays[name], rng)
        return _saved(arrays)

    return mutate


def _one_value(value: float) -> Callable[[np.ndarray, np.random.Generator], np.ndarray]:
    def change(array: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        changed = np.array(array, np.float32)
        changed.flat[int(rng.integers(changed.size))] = value
        return changed

    return change


def without_array(content: bytes, rng: np.random.Generator) -> bytes:
    arrays = dict(np.load(io.BytesIO(content)))
    del arrays[_pick(rng, sorted(arrays))]
    return _saved(arrays)


def packed(content: bytes, rng: np.random.Generator) -> bytes:
    """What unpacks to a thousand times its size."""
    arrays = dict(np.load(io.BytesIO(content)))
    arrays[_pick(rng, ("x", sorted(arrays)[0]))] = np.zeros(1_000_000, np.float32)
    return _saved(arrays, np.savez_compressed)


def claims(content: bytes, rng: np.random.Generator) -> bytes:
    """An array that says it has more numbers than any memory holds."""
    shape = (10 ** int(rng.integers(7, 18)),)
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}"
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(file, "w") as new:
        names = old.namelist()
        claiming = _pick(rng, names)
        for name in names:
            text = f"{header}, }}".ljust(117) + "\n"
            body = b"\x93NUMPY\1\0" + len(text).to_bytes(2, "little") + text.encode()
            new.writestr(name, body if name == claiming else old.read(name))
    return file.getvalue()


ARRAYS: tuple[Mutate, ...] = (
    *(cut, flip, insert, lose, replace_all, without_array, packed, claims),
    *(_changed(_one_value(value)) for value in (math.nan, math.inf, -math.inf)),
    _changed(lambda array, _: np.zeros((3, *array.shape), np.float32)),
    _changed(lambda array, _: array.astype(str)),
    _changed(lambda array, _: np.array([{"a": array}], object)),
    _changed(lambda array, _: array.astype(np.complex64) * 1j),
    _changed(lambda array, _: np.full(array.shape, 1e300)),
)


# Folders.


def seal(folder: Path) -> None:
    """Makes an artefact's hashes anew, as somebody can who may write to its folder."""
    path = folder / "metadata.json"
    own = {"metadata.json", "parity.json"}
    with contextlib.suppress(ValueError, RecursionError, AttributeError, TypeError):
        files = {name: one for name, one in file_hashes(folder).items() if name not in own}
        path.write_text(json.dumps(json.loads(path.read_bytes()) | {"files": files}))
    write_sums(folder)


def mutate_folder(folder: Path, outside: Path, rng: np.random.Generator) -> None:
    """Changes one thing in a folder, which is another one then."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    path = _pick(rng, paths)
    kind = int(rng.integers(6))
    if kind == 0:
        path.unlink()
    elif kind == 1:
        shutil.move(path, outside / "moved")
        path.symlink_to(outside / "moved")
    elif kind == 2:
        name = _pick(rng, ("other.json", "model.xml", "saved_model.pb", "variables/x", "assets/y"))
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"")
    elif kind == 3:
        sums = folder / "SHA256SUMS"
        name = _pick(rng, ("../moved", str(outside / "moved"), "nowhere", "a" * 300))
        (outside / "moved").write_bytes(b"")
        sums.write_text(sums.read_text() + f"{'e3b0c442' * 8}  {name}\n")
    else:
        before = path.read_bytes()
        content = before
        # A list of hashes may do without its last line break.
        while content.strip() == before.strip():
            content = _pick(rng, (cut, flip, insert, lose))(before, rng)
        path.write_bytes(content)


# Servers.


class Server:
    """A real server that answers each request as it is told.

    Attributes:
        answer: what it writes to the connection, after it has read a request.
        address: of it.
        paths: that were asked for.
    """

    def __init__(self) -> None:
        self.answer: Callable[[socket.socket], None] = lambda connection: None
        self.paths: list[str] = []
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                server.paths.append(self.path)
                self.close_connection = True
                with contextlib.suppress(OSError):
                    server.answer(self.connection)

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def framed(content: bytes, *, length: int | None = None, status: str = "200 OK") -> bytes:
    """An answer as HTTP has it; `length` may be a lie, and below 0 is left out."""
    length = len(content) if length is None else length
    said = f"Content-Length: {length}\r\n" if length >= 0 else ""
    return f"HTTP/1.1 {status}\r\n{said}\r\n".encode() + content


def in_chunks(content: bytes, *, last: bytes = b"0\r\n\r\n") -> bytes:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + f"{len(content):x}\r\n".encode() + content + b"\r\n" + last


def broken_frames(content: bytes, rng: np.random.Generator) -> bytes:
    """A good content in an answer that is not."""
    other = "http://127.0.0.1:9/x"
    frames = (
        framed(content, length=len(content) + 9),
        framed(content, length=len(content) - int(rng.integers(1, len(content)))),
        framed(content, length=10**12),
        framed(content, status="500 No"),
        framed(content, status="204 No Content"),
        framed(content, status=f"302 Found\r\nLocation: {other}"),
        framed(content, status=f"307 Moved\r\nLocation: {other}"),
        framed(content, status="99999 Many"),
        framed(content, status="OK"),
        framed(content, status="200 OK\r\nContent-Encoding: gzip")[:-5],
        in_chunks(content, last=b"ffff\r\n"),
        in_chunks(content, last=b"xyz\r\n"),
        in_chunks(content[:-9], last=b""),
        b"HTTP/1.1 100 Continue\r\n\r\n" * 50,
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 500 + b"\r\n" + content,
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n" + content,
        b"",
        rng.bytes(200),
    )
    return _pick(rng, frames)
