"""What setup.cfg makes of the tree: the wheel holds every module at its place and nothing else."""

from __future__ import annotations

import email
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import ssae_tf

# Folder of the tree -> folder in the wheel.
MAPPED = {"ssae_tf": "ssae_tf", "cli": "ssae_tf/cli", "export": "ssae_tf/export"}
BUILD_FILES = ("MANIFEST.in", "setup.cfg", "setup.py", "pyproject.toml", "README.md", "LICENSE")
# Files beside the modules that these read.
DATA_SUFFIXES = (".json", ".j2")
# Folders that must stay out of the wheel.
OTHERS = ("tests", "benchmarks", "docs", "examples")


def _call(*command: str | Path, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def distributions(project_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist, and the wheel built from it, of a copy of the project."""
    copy = tmp_path_factory.mktemp("project")
    for name in BUILD_FILES:
        shutil.copy(project_root / name, copy)
    for name in (*MAPPED, *OTHERS):
        if (project_root / name).is_dir():
            shutil.copytree(
                project_root / name,
                copy / name,
                symlinks=True,
                ignore=shutil.ignore_patterns("__pycache__"),
            )
    out = tmp_path_factory.mktemp("dist")
    build = (sys.executable, "-m", "build", "--no-isolation", "--outdir", out, copy)
    _call(*build, cwd=out, SSAE_TF_HOME="")
    return out


def _page(metadata: bytes) -> tuple[str, dict[str, str]]:
    """Long description and project URLs of METADATA or PKG-INFO."""
    message = email.message_from_bytes(metadata)
    urls = dict(line.split(", ") for line in message.get_all("Project-URL", []))
    return message.get_payload(decode=True).decode(), urls


def _links(page: str) -> list[str]:
    """Where links and images lead."""
    return re.findall(r"""(?:\]\(|src=["']|href=["'])([^)"']*)""", page)


@pytest.fixture(scope="module")
def wheel(distributions: Path) -> Path:
    (path,) = distributions.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel installed in it, dependencies aside."""
    target = tmp_path_factory.mktemp("site")
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")
    _call(*pip, "install", "--no-deps", "--no-index", "--target", target, wheel, cwd=target)
    return target


def test_wheel_holds_the_tree_and_nothing_else(wheel: Path, project_root: Path) -> None:
    expected = {"ssae_tf/py.typed"}
    for folder, place in MAPPED.items():
        for path in (project_root / folder).rglob("*"):
            if path.suffix not in (".py", *DATA_SUFFIXES):
                continue
            expected.add(f"{place}/{path.relative_to(project_root / folder).as_posix()}")
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert names == expected


def test_sdist_holds_docs_and_examples(distributions: Path, project_root: Path) -> None:
    (path,) = distributions.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for folder in ("docs", "examples"):
        files = [one for one in (project_root / folder).rglob("*") if one.is_file()]
        assert len(files) > 1
        assert {one.relative_to(project_root).as_posix() for one in files} <= names


def test_every_folder_with_modules_is_a_package(project_root: Path) -> None:
    for folder in MAPPED:
        for path in (project_root / folder).rglob("*.py"):
            assert (path.parent / "__init__.py").exists(), f"{path.parent} lacks __init__.py"


def test_wheel_metadata(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (metadata_name,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        (entry_points,) = (name for name in names if name.endswith("/entry_points.txt"))
        metadata = email.message_from_bytes(archive.read(metadata_name))
        scripts = archive.read(entry_points).decode()
    assert metadata["Name"] == "ssae-tf"
    assert metadata["Version"] == ssae_tf.__version__
    assert "Operating System :: POSIX :: Linux" in metadata.get_all("Classifier")
    assert metadata["Author"] == "The ssae_tf authors"
    assert "Apache-2.0" in (metadata["License-Expression"] or metadata["License"])
    assert any(name.endswith("LICENSE") for name in names)
    assert "ssae-tf = ssae_tf.cli.main:main" in scripts


def _pages_built(distributions: Path) -> list[tuple[str, dict[str, str]]]:
    """What the wheel and the sdist were given."""
    (wheel,), (sdist,) = distributions.glob("*.whl"), distributions.glob("*.tar.gz")
    name = f"ssae_tf-{ssae_tf.__version__}"
    with zipfile.ZipFile(wheel) as archive:
        of_wheel = archive.read(f"{name}.dist-info/METADATA")
    with tarfile.open(sdist) as archive:
        of_sdist = archive.extractfile(f"{name}/PKG-INFO").read()
    return [_page(of_wheel), _page(of_sdist)]


def test_without_an_address_the_page_leads_nowhere_into_the_project(
    distributions: Path, project_root: Path
) -> None:
    readme = (project_root / "README.md").read_text(encoding="utf-8")
    elsewhere = [link for link in _links(readme) if link.startswith("https://")]
    assert len(elsewhere) < len(_links(readme))
    for page, urls in _pages_built(distributions):
        assert _links(page) == elsewhere
        assert "![" not in page
        assert "(docs/usage.md)" in page, "what a link says stays"
        assert urls == {"Paper": "https://arxiv.org/abs/2206.11723"}


def test_with_an_address_all_of_the_page_leads_to_the_release(
    distributions: Path, project_root: Path, tmp_path: Path
) -> None:
    """From the sdist alone, as a wheel is built of it."""
    (sdist,) = distributions.glob("*.tar.gz")
    shutil.unpack_archive(sdist, tmp_path, filter="data")
    code = "from setuptools import build_meta as m; m.prepare_metadata_for_build_wheel('.')"
    name = f"ssae_tf-{ssae_tf.__version__}"
    home, tag = "https://example.org/someone/ssae_tf", f"v{ssae_tf.__version__}"
    _call(sys.executable, "-c", code, cwd=tmp_path / name, SSAE_TF_HOME=home)
    page, urls = _page((tmp_path / name / f"{name}.dist-info/METADATA").read_bytes())
    links = _links(page)
    readme = (project_root / "README.md").read_text(encoding="utf-8")
    assert len(links) == len(_links(readme))
    assert f"{home}/raw/{tag}/docs/images/tile-stain.jpg)" in page
    assert urls.keys() == {"Source", "Documentation", "Changelog", "Issues", "Paper"}
    assert urls["Source"] == home
    for link in [*links, urls["Documentation"], urls["Changelog"]]:
        if link.startswith("https://arxiv.org/"):
            continue
        inside = re.fullmatch(rf"{home}/(?:raw|blob|tree)/{tag}/([^#]+)(#.*)?", link)
        assert inside is not None, link
        assert (project_root / inside.group(1)).exists(), link


@pytest.mark.parametrize("home", ["example.org/someone/ssae_tf", "https://example.org/a/"])
def test_an_address_that_would_break_links_is_refused(home: str, project_root: Path) -> None:
    # Not here: setuptools must be imported before distutils, which TensorFlow may have done.
    done = subprocess.run(
        [sys.executable, "setup.py", "--version"],
        cwd=project_root,
        env={**os.environ, "SSAE_TF_HOME": home},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("SSAE_TF_HOME: expected https://HOST/OWNER/NAME, received ")
    assert home in done.stderr


def test_installed_wheel_imports_outside_the_project(installed: Path, tmp_path: Path) -> None:
    code = (
        "import ssae_tf, ssae_tf.cli, ssae_tf.export, ssae_tf.cli.main\n"
        "for module in (ssae_tf, ssae_tf.cli, ssae_tf.export, ssae_tf.cli.main):\n"
        "    print(module.__file__)"
    )
    files = _call(sys.executable, "-c", code, cwd=tmp_path, PYTHONPATH=str(installed))
    assert [Path(name).relative_to(installed).as_posix() for name in files.splitlines()] == [
        "ssae_tf/__init__.py",
        "ssae_tf/cli/__init__.py",
        "ssae_tf/export/__init__.py",
        "ssae_tf/cli/main.py",
    ]


def test_project_folder_works_without_installation(project_root: Path) -> None:
    # Without an editable install's finder, which would find the two folders by itself.
    code = (
        "import sys\n"
        "sys.meta_path = [finder for finder in sys.meta_path if 'editable' not in repr(finder)]\n"
        "import ssae_tf.cli.main, ssae_tf.export\n"
        "print(ssae_tf.cli.main.__file__)\n"
        "print(ssae_tf.export.__file__)"
    )
    files = _call(sys.executable, "-c", code, cwd=project_root).splitlines()
    assert [Path(name).resolve() for name in files] == [
        project_root / "cli" / "main.py",
        project_root / "export" / "__init__.py",
    ]


def test_nothing_else_lands_in_site_packages(installed: Path) -> None:
    names = {path.name for path in installed.iterdir()} - {"bin", "Scripts"}
    assert names == {"ssae_tf", f"ssae_tf-{ssae_tf.__version__}.dist-info"}


@pytest.mark.parametrize(
    "command", [["bin/ssae-tf"], ["-m", "ssae_tf"]], ids=["script", "python -m"]
)
def test_command_runs_outside_the_project(
    command: list[str], installed: Path, tmp_path: Path
) -> None:
    if command[0] == "bin/ssae-tf":
        if os.name == "nt":
            pytest.skip("an .exe elsewhere on Windows")
        command = [str(installed / command[0])]
    output = _call(sys.executable, *command, "--version", cwd=tmp_path, PYTHONPATH=str(installed))
    assert output.strip() == f"ssae-tf {ssae_tf.__version__}"
