"""What a killed process was writing: swept by the next command that writes there, and only that."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ssae_tf.cli.main import run
from ssae_tf.evaluation.predictions import writers
from ssae_tf.files import atomic, sweep
from ssae_tf.run_folder import evaluating

WRITER = """
import sys
from pathlib import Path
from ssae_tf.files import atomic

with atomic(Path(sys.argv[1])) as temporary:
    temporary.write_bytes(b"half of it")
    print(temporary.name, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def killed() -> Callable[[Path], Path]:
    """Kills a process while it writes a file; gives what it has left."""

    def kill(path: Path) -> Path:
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None
            name = process.stdout.readline().strip()
            process.send_signal(signal.SIGKILL)
        assert path.with_name(name).read_bytes() == b"half of it"
        return path.with_name(name)

    return kill


def test_of_a_dead_process_only(killed: Callable[[Path], Path], tmp_path: Path) -> None:
    left = killed(tmp_path / "a.png")
    with atomic(tmp_path / "b.png") as temporary:
        temporary.write_bytes(b"all of it")
        sweep(tmp_path, lambda _: True)
        assert not left.exists()
    assert (tmp_path / "b.png").read_bytes() == b"all of it"
    assert os.listdir(tmp_path) == ["b.png"]


def test_what_looks_like_it_and_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / ".pipe.abcdefgh.png")
    (tmp_path / ".link.abcdefgh.png").symlink_to(tmp_path / "elsewhere")
    (tmp_path / ".folder.abcdefgh.png").mkdir()
    before = set(os.listdir(tmp_path)) - {".pipe.abcdefgh.png"}
    sweep(tmp_path, lambda _: True)
    assert set(os.listdir(tmp_path)) >= before
    sweep(tmp_path / "nowhere", lambda _: True)


def test_predict(
    killed: Callable[[Path], Path],
    run_folder: Path,
    sample_root: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Whatever images the next one inspects; files of others stay."""
    out, image = tmp_path / "out", next(sample_root.glob("*/test/good/*.png"))
    out.mkdir()
    for name in ("x_map.png", "x_mask.png", "x_overlay.png", "x_map.npy"):
        killed(out / name)
    foreign = killed(out / "photo.png")
    given = ["--out", out, "--csv", tmp_path / "found.csv", "--quiet"]
    table = killed(tmp_path / "found.csv")
    assert run([str(one) for one in ("predict", run_folder, image, *given)]) == 0
    assert json.loads(capfd.readouterr().out)["path"] == str(image)
    made = {f"{image.stem}_{name}" for name in ("map.png", "map.npy", "mask.png", "overlay.png")}
    assert set(os.listdir(out)) == {*made, foreign.name}
    assert not table.exists()


def test_files_of_all_images_together(killed: Callable[[Path], Path], tmp_path: Path) -> None:
    left = [killed(tmp_path / name) for name in ("page.html", "table.csv", "coco.json")]
    other = killed(tmp_path / "other.csv")
    writers("run", [], *(tmp_path / name for name in ("page.html", "table.csv", "coco.json")))
    assert [path.exists() for path in (*left, other)] == [False, False, False, True]


def test_an_evaluation_elsewhere(killed: Callable[[Path], Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    left = [killed(out / name) for name in ("metrics.json", "report.html", "sheets/good.png")]
    other = killed(out / "other.json")
    with evaluating(tmp_path / "run", out):
        assert [path.exists() for path in (*left, other)] == [False, False, False, True]


def test_a_table_sweeps_parts_of_its_own(killed: Callable[[Path], Path], tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="the extra ray is not installed")
    from ssae_tf.fleet.table import Table

    place = tmp_path / "found.parquet"
    Table(str(place), {})
    part, other = killed(place / "part-1-0.parquet"), killed(place / "notes.txt")
    Table(str(place), {})
    assert not part.exists()
    assert other.exists()
