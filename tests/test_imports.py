"""Who may import whom, stated here and read from the source; and who must not import TensorFlow."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import ssae_tf
from ssae_tf.cli.main import COMMANDS

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = {
    "ssae_tf": ROOT / "ssae_tf",
    "ssae_tf.cli": ROOT / "cli",
    "ssae_tf.export": ROOT / "export",
}

TENSORS = frozenset({"tensorflow", "numpy"})
ARRAYS = frozenset({"numpy", "scipy", "sklearn", "cv2"})


@dataclass(frozen=True)
class Rule:
    """What a module and all below it may import.

    Attributes:
        ours: modules of the package, each with all below it; `config`, `errors` and the module
            itself may always be imported.
        theirs: other people's packages; None allows all.
        never: modules of the package that are forbidden even where `ours` is None.
    """

    ours: frozenset[str] | None = None
    theirs: frozenset[str] | None = None
    never: frozenset[str] = frozenset()


def _ours(*names: str) -> frozenset[str]:
    return frozenset(f"ssae_tf.{name}" for name in names)


# The longest name that fits a module decides.
RULES = {
    "ssae_tf": Rule(),
    "ssae_tf.models.answer": Rule(_ours(), TENSORS),
    "ssae_tf._version": Rule(_ours(), frozenset()),
    "ssae_tf.errors": Rule(_ours(), frozenset()),
    "ssae_tf.config": Rule(_ours(), frozenset({"pydantic"})),
    "ssae_tf.files": Rule(_ours(), frozenset()),
    "ssae_tf.runtime.lock": Rule(_ours(), frozenset()),
    "ssae_tf.run_folder": Rule(_ours("files", "runtime.lock"), frozenset()),
    "ssae_tf.run_making": Rule(_ours("files", "runtime.lock", "run_folder"), frozenset()),
    "ssae_tf.runtime.signals": Rule(_ours(), frozenset()),
    "ssae_tf.runtime.machine": Rule(_ours(), frozenset({"tensorflow"})),
    "ssae_tf.progress": Rule(_ours("runtime.streams"), frozenset({"rich"})),
    # A client of a server needs no TensorFlow.
    "ssae_tf.result": Rule(
        _ours(
            "data.images", "evaluation.plot", "schemas", "scoring.conformal", "scoring.threshold"
        ),
        ARRAYS | {"PIL"},
    ),
    "ssae_tf.batching": Rule(_ours("result"), TENSORS),
    "ssae_tf.schemas": Rule(_ours("files"), frozenset({"pydantic"})),
    "ssae_tf.calibration_file": Rule(_ours("schemas", "scoring.conformal"), frozenset()),
    "ssae_tf.runtime.streams": Rule(_ours(), frozenset()),
    "ssae_tf.ops": Rule(_ours(), TENSORS),
    "ssae_tf.corruption": Rule(_ours("ops"), TENSORS),
    "ssae_tf.training.objective": Rule(_ours("ops"), TENSORS),
    "ssae_tf.scoring.views": Rule(_ours(), TENSORS),
    "ssae_tf.scoring.anomaly_map": Rule(_ours("models.answer", "ops", "scoring.views"), TENSORS),
    "ssae_tf.scoring.ignored": Rule(_ours("ops"), TENSORS),
    "ssae_tf.scoring.conformal": Rule(_ours(), ARRAYS),
    "ssae_tf.scoring.drift": Rule(_ours(), ARRAYS),
    "ssae_tf.scoring.threshold": Rule(_ours(), ARRAYS),
    "ssae_tf.evaluation.metrics": Rule(_ours("scoring.threshold"), ARRAYS),
    "ssae_tf.evaluation.report": Rule(
        _ours("scoring.conformal", "evaluation", "files"), ARRAYS | {"jinja2"}
    ),
    "ssae_tf.evaluation.coco": Rule(_ours("files"), ARRAYS),
    "ssae_tf.evaluation.plot": Rule(_ours("evaluation"), ARRAYS | {"matplotlib"}),
    "ssae_tf.evaluation.predictions": Rule(_ours("evaluation", "files"), ARRAYS),
    "ssae_tf.evaluation.projection": Rule(_ours("corruption"), TENSORS | ARRAYS),
    "ssae_tf.training": Rule(
        _ours(
            "data",
            "corruption",
            "models",
            "scoring",
            "evaluation.metrics",
            "files",
            "ops",
            "progress",
            "run_folder",
            "runtime",
        )
    ),
    "ssae_tf.paper_tables": Rule(
        _ours(
            # Beside `fit` and `resume`: which images, which files, what Ctrl-C raises, and the
            # threads of a process of its own.
            "_version",
            "data.mvtec",
            "data.split",
            "training.loop",
            "run_making",
            "runtime.lock",
            "runtime.threads",
            "workflow",
            "evaluation",
            "files",
            "progress",
            "run_folder",
            "schemas",
            "runtime.signals",
            "runtime.streams",
        ),
        frozenset({"jinja2", "pydantic"}),
    ),
    "ssae_tf.export": Rule(never=_ours("training", "workflow")),
    # Its workers load no more than inspection needs.
    "ssae_tf.fleet": Rule(
        _ours(
            "data",
            "detector",
            "export.artefact",
            "export.manifest",
            "files",
            "progress",
            "result",
            "run_folder",
            "runtime",
        ),
        frozenset({"fsspec", "numpy", "pyarrow", "ray"}),
    ),
}
ALWAYS = _ours("config", "errors")
# These are the top: only the modules named here may import them.
MAY_IMPORT = {
    "ssae_tf.ablation": ("ssae_tf.ablation", "ssae_tf.cli"),
    "ssae_tf.cli": ("ssae_tf.__main__", "ssae_tf.cli"),
    "ssae_tf.fleet": ("ssae_tf.fleet", "ssae_tf.cli"),
    "ssae_tf.paper_tables": ("ssae_tf.paper_tables", "ssae_tf.cli"),
}


def _modules() -> dict[str, Path]:
    modules = {}
    for package, folder in FOLDERS.items():
        for path in sorted(folder.rglob("*.py")):
            parts = [package, *path.relative_to(folder).with_suffix("").parts]
            if parts[-1] == "__init__":
                parts.pop()
            modules[".".join(parts)] = path
    return modules


MODULES = _modules()


def _is_below(name: str, parent: str) -> bool:
    return name == parent or name.startswith(parent + ".")


def _is_for_types_only(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def _imports(node: ast.AST) -> Iterator[str]:
    """Names of the imported modules, wherever in the file, but for those under TYPE_CHECKING."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            module = "." * child.level + (child.module or "")
            # `from ssae_tf import config` imports a module, `from ssae_tf import fit` does not.
            for alias in child.names:
                full = f"{module}.{alias.name}"
                yield full if full in MODULES else module
        elif _is_for_types_only(child):
            for other in child.orelse:
                yield from _imports(other)
        else:
            yield from _imports(child)


def _violations(module: str, source: str) -> list[str]:
    own = max((name for name in RULES if _is_below(module, name)), key=len)
    rule = RULES[own]
    found = []
    for name in _imports(ast.parse(source)):
        if name.startswith("."):
            found.append(f"relative import of {name}")
        elif not _is_below(name, "ssae_tf"):
            root = name.split(".")[0]
            if root in sys.stdlib_module_names or rule.theirs is None:
                continue
            if root not in rule.theirs:
                found.append(f"{name}: allowed are {sorted(rule.theirs)}")
        elif top := next((top for top in MAY_IMPORT if _is_below(name, top)), None):
            if not any(_is_below(module, allowed) for allowed in MAY_IMPORT[top]):
                found.append(f"{name}: allowed for {MAY_IMPORT[top]}")
        elif any(_is_below(name, never) for never in rule.never):
            found.append(f"{name}: forbidden")
        elif rule.ours is not None:
            allowed = rule.ours | ALWAYS | {own}
            if not any(_is_below(name, parent) for parent in allowed):
                found.append(f"{name}: allowed are {sorted(allowed)}")
    return found


@pytest.mark.parametrize("module", MODULES)
def test_imports_keep_to_the_rules(module: str) -> None:
    assert not _violations(module, MODULES[module].read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("ssae_tf.corruption.shapes", "import cv2"),
        ("ssae_tf.corruption", "def f():\n    from ssae_tf.data import sample"),
        ("ssae_tf.scoring.threshold", "import tensorflow as tf"),
        ("ssae_tf.models.answer", "from ssae_tf.scoring.anomaly_map import respond"),
        ("ssae_tf.scoring.anomaly_map", "from ssae_tf.models.gated import gated"),
        ("ssae_tf.evaluation.metrics", "from tensorflow import keras"),
        ("ssae_tf.evaluation.report", "from ssae_tf.detector import Detector"),
        ("ssae_tf.config", "import numpy"),
        ("ssae_tf.errors", "import ssae_tf.sample_data.sample"),
        ("ssae_tf.training.loop", "import ssae_tf.evaluation.tables"),
        ("ssae_tf.training.loop", "from ssae_tf.detector import Detector"),
        ("ssae_tf.export.formats.tflite", "from ssae_tf.training import loop"),
        ("ssae_tf.export.formats.tflite", "from ssae_tf.workflow import fit"),
        ("ssae_tf.export.formats.tflite", "from ssae_tf.cli.main import ExitCode"),
        ("ssae_tf.workflow", "from ssae_tf.cli import main"),
        ("ssae_tf.workflow", "from ssae_tf.paper_tables import run"),
        ("ssae_tf.workflow", "from ssae_tf.ablation import ROWS"),
        ("ssae_tf.paper_tables.run", "from ssae_tf.cli import options"),
        ("ssae_tf.paper_tables.run", "from ssae_tf.models import weights"),
        ("ssae_tf.paper_tables.run", "import tensorflow"),
        ("ssae_tf.fleet.engine", "import tensorflow"),
        ("ssae_tf.detector", "from ssae_tf.fleet.inspector import Inspector"),
        ("ssae_tf.workflow", "from . import config"),
    ],
)
def test_a_breach_is_seen(module: str, source: str) -> None:
    assert len(_violations(module, source)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("ssae_tf.corruption.shapes", "import math, numpy\nfrom ssae_tf import config, errors"),
        ("ssae_tf.scoring.anomaly_map", "from ssae_tf.models.answer import Answer, answer"),
        ("ssae_tf.training.loop", "from ssae_tf.models.answer import answer"),
        ("ssae_tf.training.loop", "from ssae_tf.evaluation.metrics import auroc"),
        ("ssae_tf.training.loop", "from ssae_tf.training.schedule import rate"),
        ("ssae_tf.export.formats.tflite", "from ssae_tf.detector import Detector\nimport onnx"),
        ("ssae_tf.workflow", "import tensorflow\nfrom ssae_tf.training import loop"),
        ("ssae_tf.paper_tables.run", "from ssae_tf import workflow\nimport jinja2"),
        ("ssae_tf.paper_tables.run", "from ssae_tf.paper_tables import tables"),
        ("ssae_tf.cli.benchmark", "from ssae_tf.paper_tables.run import run"),
        ("ssae_tf.scoring.threshold", "if TYPE_CHECKING:\n    import tensorflow"),
    ],
)
def test_what_is_allowed_passes(module: str, source: str) -> None:
    assert not _violations(module, source)


def test_what_the_architecture_page_names_is_there() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    names = set(re.findall(r"`([\w/.]+/[\w.]*)`", text))
    assert len(names) > 30
    assert {name for name in names if not (ROOT / name).exists()} == set()


@pytest.mark.parametrize(
    "code",
    [
        "import ssae_tf; dir(ssae_tf); ssae_tf.RunConfig, ssae_tf.SsaeError",
        "import ssae_tf.export.formats.tflite",
        "from ssae_tf.export.client import Client; Client('http://localhost:1', 'tile')",
        "import ssae_tf.data.check",
        "assert run(['check', 'no-such-folder']) == 1",
        "assert run(['--help']) == 0",
        "assert run(['--version']) == 0",
        "assert run(['no-such-command']) == 2",
        *(f"assert run(['{name}', '--help']) == 0" for name in COMMANDS),
    ],
)
def test_tensorflow_is_not_imported(code: str, tmp_path: Path) -> None:
    script = (
        "import sys\n"
        + ("from ssae_tf.cli.main import run\n" if "run(" in code else "")
        + f"{code}\nprint(sorted({{'tensorflow', 'keras'}} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


def test_public_names_are_listed() -> None:
    assert set(ssae_tf.__all__) <= set(dir(ssae_tf))


@pytest.mark.parametrize("name", ssae_tf.__all__)
def test_public_names_are_found(name: str) -> None:
    assert getattr(ssae_tf, name) is getattr(ssae_tf, name)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(AttributeError, match="'ssae_tf' has no attribute 'Detectr'"):
        _ = ssae_tf.Detectr
