"""`ssae-tf sample-data`: the embedded data set on disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ssae_tf.data.mvtec import list_categories, load_category
from ssae_tf.sample_data import sample

Invoke = Callable[..., Any]


@pytest.fixture(autouse=True)
def calls(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Makes the data set small; gives the arguments of the calls."""
    calls: list[dict[str, Any]] = []
    write = sample.write_sample_data

    def write_small(root: Path, **arguments: Any) -> Path:
        calls.append(arguments)
        return write(root, train=2, test_good=1, per_kind=1, size=32, **arguments)

    monkeypatch.setattr(sample, "write_sample_data", write_small)
    return calls


def _bytes(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*.png"))}


def test_what_it_writes(invoke: Invoke, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "data"
    done = invoke("sample-data", "--out", out)
    assert (done.code, done.err) == (0, [])
    assert done.out == [str(out / "tile"), str(out / "weave")]
    assert list_categories(out) == ["tile", "weave"]
    for name in ("tile", "weave"):
        category = load_category(out, name)
        assert (len(category.train), len(category.test), category.warnings) == (2, 4, ())


def test_seed(invoke: Invoke, tmp_path: Path, calls: list[dict[str, Any]]) -> None:
    for name, arguments in [("a", []), ("same", ["--seed", "0"]), ("other", ["--seed", "1"])]:
        assert invoke("sample-data", "--out", tmp_path / name, *arguments).code == 0
    assert [call["seed"] for call in calls] == [0, 0, 1]
    a, same, other = (_bytes(tmp_path / name) for name in ("a", "same", "other"))
    assert a == same
    assert a.keys() == other.keys()
    assert all(a[name] != other[name] for name in a if "ground_truth" not in name)


def test_overwrite(invoke: Invoke, tmp_path: Path) -> None:
    invoke("sample-data", "--out", tmp_path)
    (tmp_path / "tile" / "kept.txt").write_text("")
    done = invoke("sample-data", "--out", tmp_path)
    assert (done.code, done.out, len(done.err)) == (1, [], 1)
    assert done.error.startswith(f"Error: {tmp_path / 'tile'} exists")
    assert (tmp_path / "tile" / "kept.txt").exists()
    assert invoke("sample-data", "--out", tmp_path, "--overwrite").code == 0
    assert not (tmp_path / "tile" / "kept.txt").exists()


def test_what_is_refused(invoke: Invoke, tmp_path: Path) -> None:
    assert invoke("sample-data").code == 2
    assert invoke("sample-data", "--out", tmp_path, "--seed", "-1").code == 2
    (tmp_path / "file").write_text("")
    done = invoke("sample-data", "--out", tmp_path / "file")
    assert (done.code, done.out, len(done.err)) == (1, [], 1)
    assert str(tmp_path / "file") in done.error
