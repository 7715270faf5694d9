"""The HTML pages in a real browser: nothing asked for, nothing complained of, all figures seen."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ssae_tf.cli.main import run

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# Shows a page at some width and says what it became; it stands around it, since a page has no
# scripts, and its policy allows none.
_AROUND = """<!DOCTYPE html>
<iframe style="width: {width}px; height: 1000px; border: 0" srcdoc="{page}"></iframe>
<pre></pre>
<script>
onload = () => {{
  const view = document.querySelector("iframe").contentWindow, page = view.document;
  const area = one => one.getBoundingClientRect().width * one.getBoundingClientRect().height;
  document.querySelector("pre").textContent = JSON.stringify({{
    images: [...page.images].map(one => one.naturalWidth && area(one)),
    drawings: [...page.querySelectorAll("svg")].map(area),
    asked: view.performance.getEntriesByType("resource").map(one => one.name),
    width: page.documentElement.scrollWidth,
  }});
}};
</script>
"""


@pytest.fixture(scope="session")
def browser() -> str:
    """The command of a Chromium."""
    found = next(filter(None, map(shutil.which, _NAMES)), None)
    if found is None:
        pytest.skip(f"no browser: expected one of {', '.join(_NAMES)} on the PATH")
    return found


@pytest.fixture(scope="session")
def pages(run_folder: Path, sample_root: Path, tmp_path_factory: Any) -> dict[str, Path]:
    """The page of each command that makes one."""
    folder = tmp_path_factory.mktemp("pages")
    images = sample_root / "tile" / "test" / "crack"
    report = ["--report", str(folder / "predict.html")]
    assert run(["predict", str(run_folder), str(images), *report]) in (0, 3)
    assert run(["compare", *2 * [str(run_folder)], "--out", str(folder / "compare.html")]) == 0
    return {
        "report": run_folder / "report.html",
        "predict": folder / "predict.html",
        "compare": folder / "compare.html",
    }


def shown(browser: str, page: str, width: int, folder: Path) -> tuple[dict[str, Any], list[str]]:
    """What a page is in a browser, and what this says on its console."""
    around = folder / "around.html"
    around.write_text(_AROUND.format(width=width, page=html.escape(page)), encoding="utf-8")
    done = subprocess.run(
        [
            *(browser, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"),
            *("--disable-background-networking", f"--user-data-dir={folder / 'profile'}"),
            *("--virtual-time-budget=5000", "--dump-dom", around.as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    found = re.search("<pre>(.*)</pre>", done.stdout)
    assert found is not None, done.stderr
    console = [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
    return json.loads(html.unescape(found[1])), console


@pytest.mark.parametrize("width", [400, 1200])
@pytest.mark.parametrize("name", ["report", "predict", "compare"])
def test_a_page_is_whole_without_anything_from_elsewhere(
    name: str, width: int, browser: str, pages: dict[str, Path], tmp_path: Path
) -> None:
    page = pages[name].read_text(encoding="utf-8")
    found, console = shown(browser, page, width, tmp_path)
    assert console == []
    assert found["asked"] == []
    assert found["width"] <= width
    assert len(found["images"]) == page.count("<img ")
    assert len(found["drawings"]) == page.count("<svg ")
    assert all(area > 0 for area in found["images"] + found["drawings"])


def test_what_a_page_would_ask_for_is_noticed(browser: str, tmp_path: Path) -> None:
    page = "<img src='http://127.0.0.1:9/image.png'><p style='width: 500px'>wide</p>"
    found, console = shown(browser, page, 400, tmp_path)
    assert found["images"] == [0]
    assert found["asked"] or console
    assert found["width"] > 400
