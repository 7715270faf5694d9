"""What all tests share: seeds, a quiet TensorFlow, a clean environment, the real images."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import random
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]

# Before anything imports TensorFlow or Matplotlib.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Commands give every operation one core where nothing ran before (ssae_tf.runtime.threads), which
# rounds otherwise: here it would depend on the order of the tests. 0 is TensorFlow's default.
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "0")
os.environ.setdefault("MPLBACKEND", "Agg")

# Tests of signals are about those that nobody ignores; `nohup make test` would have SIGHUP so, and
# a shell's `make test &` SIGINT.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)

_SHARED_DATA = Path(os.environ.get("SSAE_TF_DATA") or ROOT.parent / "shared" / "data")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Tests of a file stay in one process, and those that share artefacts as well."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return "exports" if "tests/export/" in file else file

    # Else files of the fewest tests come last, which are the slowest: one process would wait.
    config.option.loadscopereorder = False
    return ByFile(config, log)


@pytest.fixture(autouse=True)
def _no_settings_from_the_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SSAE_TF_DATA", "SSAE_TF_VERBOSE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session", autouse=True)
def _no_waits_for_the_disk() -> Iterator[None]:
    """Files are written thousands of times, and no test pulls the plug."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)
        yield


@pytest.fixture
def seed() -> int:
    """The seed that every test starts from."""
    return 7


@pytest.fixture(autouse=True)
def _seeds(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - for libraries that draw from the global state
    # Tests without tensors should not wait for its import.
    if "tensorflow" in sys.modules:
        sys.modules["tensorflow"].random.set_seed(seed)


@pytest.fixture
def rng(seed: int) -> np.random.Generator:
    """Random numbers, the same in every run."""
    return np.random.default_rng(seed)


@pytest.fixture(scope="session")
def project_root() -> Path:
    """The project folder."""
    return ROOT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The real images, in MVTec AD layout: in `SSAE_TF_DATA` or ../shared/data."""
    if not _SHARED_DATA.is_dir():
        pytest.skip(f"no real images in {_SHARED_DATA}; SSAE_TF_DATA may name another folder")
    return _SHARED_DATA


@pytest.fixture(scope="session")
def sample_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with the category `tile`, small: 12 good images of 64², 2 + 6 test images.

    Shared by all tests: copy it before changing anything.
    """
    from ssae_tf.sample_data.sample import write_sample_data

    root = tmp_path_factory.mktemp("data")
    return write_sample_data(root, categories=("tile",), train=12, test_good=2, per_kind=2, size=64)


@pytest.fixture(scope="session")
def fit_arguments(sample_root: Path) -> list[str]:
    """A command line that fits a tiny network in seconds, but for `--out`."""
    settings = {
        "training.stages": '[{"size": 16, "batch_size": 2, "steps": 6}]',
        "training.evaluations": 3,
        # What 64² resolves to leaves little of a map of noise, as this network's is, smoothed.
        "scoring.smoothing_sigma": 4.0,
        # Images in their own size; the rest of `quick` would only take longer to trace.
        "scoring.inspection_size": "native",
        "scoring.evidence": "residual",
        "scoring.outline": "null",
        "scoring.test_time_augmentation": False,
        "model.width": 0.0625,
        "model.answer": "plain",
        "model.context": 1,
        "model.standardize": False,
        "training.learning_rate": 1e-3,
        "corruption.texture": 0.0,
        "corruption.patch_swap": 0.0,
        "corruption.contrast": 0.0,
        "corruption.opacity": "[1.0, 1.0]",
        "corruption.patches": 1,
        "corruption.brightness": 0.0,
        "corruption.tint": 0.0,
        "corruption.cut_out": 0.0,
        "corruption.relief": 0.0,
        "corruption.noise": 0.0,
        "data.calibrate_fraction": 0.25,
    }
    arguments = ["fit", "--data", str(sample_root), "--preset", "quick"]
    for name, value in settings.items():
        arguments += ["--set", f"{name}={value}"]
    return arguments


@dataclasses.dataclass(frozen=True)
class Done:
    """What a command line did.

    Attributes:
        code: its exit code.
        out, err: what it wrote, as lines.
    """

    code: int
    out: list[str]
    err: list[str]

    @property
    def error(self) -> str:
        """The last line of stderr."""
        return self.err[-1]


@pytest.fixture(scope="session")
def fitted(fit_arguments: list[str], tmp_path_factory: pytest.TempPathFactory) -> Done:
    """What `fit` did with `fit_arguments`; its run folder is `run`."""
    from ssae_tf.cli.main import run

    folder = tmp_path_factory.mktemp("fitted") / "run"
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run([*fit_arguments, "--out", str(folder)])
    return Done(code, out.getvalue().splitlines(), err.getvalue().splitlines())


@pytest.fixture(scope="session")
def run_folder(fitted: Done) -> Path:
    """A finished run of a tiny network, shared by all tests: copy it before changing anything."""
    assert fitted.code == 0, fitted.err
    return Path(fitted.out[-1])


@pytest.fixture
def run_copy(run_folder: Path, tmp_path: Path) -> Path:
    """A copy of that run."""
    return shutil.copytree(run_folder, tmp_path / "copy")


@pytest.fixture(scope="session")
def trained(run_folder: Path) -> object:
    """The detector of that run; no test changes it."""
    from ssae_tf.detector import Detector

    return Detector.load(run_folder)


@pytest.fixture(scope="session")
def grey() -> object:
    """F(X) = 0.5."""
    from stand_ins import grey_network

    return grey_network()


@pytest.fixture
def listener() -> object:
    """A `stand_ins.Listener`."""
    # Imports TensorFlow.
    from stand_ins import Listener

    return Listener()


@pytest.fixture
def shared_network(monkeypatch: pytest.MonkeyPatch, _networks: dict[object, object]) -> None:
    """Builds and traces equal networks once in all tests: that takes longer than inspecting."""
    from ssae_tf import detector
    from ssae_tf.scoring.views import views

    build, compile_ = detector.load_network, detector._compiled
    fold, compile_network = detector.folded, detector.compiled_network

    def load_network(config: Any, weights: Path) -> object:
        key = (config.model, weights.read_bytes())
        if key not in _networks:
            _networks[key] = build(config, weights)
        return _networks[key]

    def folded(model: Any) -> object:
        key = ("folded", id(model))
        if key not in _networks:
            # With the model, so that no other gets its id.
            _networks[key] = (fold(model), model)
        return _networks[key][0]  # type: ignore[index]

    def compiled(model: Any, config: Any) -> object:
        key = (id(model), config.scoring, views(config))
        if key not in _networks:
            _networks[key] = (compile_(model, config), model)
        return _networks[key][0]  # type: ignore[index]

    def compiled_network(model: Any) -> object:
        if id(model) not in _networks:
            _networks[id(model)] = (compile_network(model), model)
        return _networks[id(model)][0]  # type: ignore[index]

    monkeypatch.setattr(detector, "folded", folded)
    monkeypatch.setattr(detector, "_compiled", compiled)
    monkeypatch.setattr(detector, "compiled_network", compiled_network)
    monkeypatch.setattr(detector, "load_network", load_network)


@pytest.fixture
def invoke(capfd: pytest.CaptureFixture[str], shared_network: None) -> Callable[..., Done]:
    """Runs `ssae-tf` with some arguments, in this process."""
    from ssae_tf.cli.main import run

    def call(*arguments: object) -> Done:
        capfd.readouterr()
        code = run([str(argument) for argument in arguments])
        captured = capfd.readouterr()
        return Done(code, captured.out.splitlines(), captured.err.splitlines())

    return call


@pytest.fixture(scope="session")
def _networks() -> dict[object, object]:
    return {}
