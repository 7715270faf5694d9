"""What a shell is told that completes a command line."""

from __future__ import annotations

import pytest

from ssae_tf.cli.main import run


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("ssae-tf ca", ["plain,calibrate"]),
        ("ssae-tf fit --co", ["plain,--config"]),
        ("ssae-tf fit --preset b", ["plain,best"]),
    ],
)
def test_commands_options_and_choices(
    words: str,
    expected: list[str],
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("_SSAE_TF_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split()) - 1))
    with pytest.raises(SystemExit) as ended:
        run([])
    assert ended.value.code == 0
    assert capfd.readouterr().out.splitlines() == expected
