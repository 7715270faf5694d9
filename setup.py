"""What setup.cfg can't say: the page on PyPI, made of README.md, and the project's addresses.

README.md leads to its neighbours, which are not beside it there. With SSAE_TF_HOME, the project's
address on GitHub or GitLab, such links lead to the release's tag; without it they become text.
"""

import os
import re
import runpy
from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).resolve().parent
PAPER = "https://arxiv.org/abs/2206.11723"
# What leads into the project, as an image or a link.
INSIDE = r"\[([^\]]*)\]\((?!https?://)([^)\s]+)\)"


def metadata(home: str) -> dict[str, object]:
    """Long description and project URLs of a project at `home`, which may be ""."""
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    if not home:
        page = re.sub(rf"!{INSIDE}\n+(\*.+\*\n+)?", "", page)  # and the line below an image
        page = re.sub(INSIDE, r"\1", page)
        return {"long_description": page, "project_urls": {"Paper": PAPER}}
    if not re.fullmatch(r"https://[^\s/]+/\S*[^\s/]", home):
        raise SystemExit(f"SSAE_TF_HOME: expected https://HOST/OWNER/NAME, received {home!r}.")
    tag = "v" + runpy.run_path(str(ROOT / "ssae_tf/_version.py"))["__version__"]
    page = re.sub(f"!{INSIDE}", rf"![\1]({home}/raw/{tag}/\2)", page)
    page = re.sub(INSIDE, rf"[\1]({home}/blob/{tag}/\2)", page)
    urls = {"Source": home, "Documentation": f"{home}/tree/{tag}/docs", "Paper": PAPER}
    urls |= {"Changelog": f"{home}/blob/{tag}/CHANGELOG.md", "Issues": f"{home}/issues"}
    return {"long_description": page, "project_urls": urls}


if __name__ == "__main__":
    setup(**metadata(os.environ.get("SSAE_TF_HOME", "")))
