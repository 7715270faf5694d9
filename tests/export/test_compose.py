"""docs/compose.yaml, as far as it can be looked at without Docker."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path
from typing import Any

import pytest

from ssae_tf.export.client import Client
from ssae_tf.export.tfserving import IMAGE

yaml = pytest.importorskip("yaml")


@pytest.fixture
def compose(project_root: Path) -> dict[str, Any]:
    text = (project_root / "docs" / "compose.yaml").read_text(encoding="utf-8")
    return yaml.safe_load(text)  # type: ignore[no-any-return]


def test_the_server_is_that_of_the_exports_command(compose: dict[str, Any]) -> None:
    assert compose["services"]["serving"]["image"] == IMAGE


def test_everything_is_reached_from_this_machine_only(compose: dict[str, Any]) -> None:
    ports = [port for one in compose["services"].values() for port in one.get("ports", ())]
    assert len(ports) == 2
    assert all(port.startswith("127.0.0.1:") for port in ports)
    host = [one for one in compose["services"].values() if one.get("network_mode") == "host"]
    for one in host:
        assert any("listen-address=127.0.0.1:" in part for part in one["command"])


def test_the_request_is_spelt_right(compose: dict[str, Any]) -> None:
    script = compose["services"]["smoke"]["command"][-1]
    tree = ast.parse(script.split("<<'EOF'\n")[1].split("EOF\n")[0])
    calls = {ast.unparse(node.func): node for node in ast.walk(tree) if isinstance(node, ast.Call)}
    values = [ast.literal_eval(one) for one in calls["Client"].args]
    assert values == [
        "http://serving:8501",
        compose["services"]["serving"]["environment"]["MODEL_NAME"],
    ]
    call = calls["client.predict"]
    inspect.signature(Client.predict).bind(
        None, *call.args, **{one.arg: one.value for one in call.keywords}
    )
    volumes = compose["services"]["smoke"]["volumes"]
    assert any(one.endswith(f":{ast.literal_eval(call.args[0])}:ro") for one in volumes)


def test_configs_are_those_that_there_are(compose: dict[str, Any]) -> None:
    used = {
        config["source"]
        for one in compose["services"].values()
        for config in one.get("configs", ())
    }
    assert used == set(compose["configs"])
    jobs = yaml.safe_load(compose["configs"]["prometheus"]["content"])["scrape_configs"]
    assert [job["job_name"] for job in jobs] == ["serving", "watch"]
