"""One writer at a time; the dead block nobody."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ssae_tf.errors import RunError
from ssae_tf.runtime.lock import check_free, locked

_HOLD = (
    "import sys; from pathlib import Path; from ssae_tf.runtime.lock import locked\n"
    "with locked(Path(sys.argv[1]), 'ssae-tf fit'):\n"
    "    print('held', flush=True); sys.stdin.read()\n"
)


@pytest.fixture
def holder(tmp_path: Path, project_root: Path) -> subprocess.Popen[str]:
    """Another process that holds the lock of tmp_path."""
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(tmp_path)],
        cwd=project_root,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_the_second_is_told_of_the_first(holder: subprocess.Popen[str], tmp_path: Path) -> None:
    expected = (
        rf"^{tmp_path}: `ssae-tf fit` \(process {holder.pid}, since 20\d\d-\d\d-\d\d \d\d:\d\d:\d\d"
        r"[+-]\d\d:\d\d\) is at work in it; wait for it, or stop it\.$"
    )
    with pytest.raises(RunError, match=expected), locked(tmp_path, "ssae-tf calibrate"):
        pass
    with pytest.raises(RunError, match=expected):
        check_free(tmp_path)


def test_the_lock_of_a_dead_process_blocks_nobody(
    holder: subprocess.Popen[str], tmp_path: Path
) -> None:
    holder.kill()
    holder.wait()
    assert (tmp_path / ".lock").is_file()
    check_free(tmp_path)
    with locked(tmp_path, "ssae-tf fit"):
        assert f'"pid": {os.getpid()},' in (tmp_path / ".lock").read_text()
    assert list(tmp_path.iterdir()) == []


def test_it_goes_with_the_folder(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with locked(tmp_path / "a", "one"):
        (tmp_path / "a").rename(tmp_path / "b")
        (tmp_path / "a").mkdir()
        with locked(tmp_path / "a", "other"):
            pass
        with pytest.raises(RunError, match="`one`"), locked(tmp_path / "b", "other"):
            pass
    assert list((tmp_path / "b").iterdir()) == []


def test_a_folder_that_is_deleted_meanwhile(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with locked(tmp_path / "a", "one"):
        shutil.rmtree(tmp_path / "a")
    with (
        pytest.raises(RunError, match=r"a: can't be written to \(No such file or directory\)\.$"),
        locked(tmp_path / "a", "one"),
    ):
        pass


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes anywhere")
def test_a_read_only_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    with pytest.raises(RunError, match="Permission denied"), locked(tmp_path, "one"):
        pass


def test_a_disk_that_takes_no_more(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
        refused = pytest.raises(RunError, match=r"can't be written to \(File too large\)")
        with refused, locked(tmp_path, "ssae-tf fit"):
            raise AssertionError("it holds the lock")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(tmp_path.iterdir())
    with locked(tmp_path, "ssae-tf fit"):
        pass
