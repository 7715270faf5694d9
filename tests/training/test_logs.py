"""history.csv and TensorBoard's event files, read back."""

from __future__ import annotations

import contextlib
import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from ssae_tf.errors import RunError
from ssae_tf.training.logs import HistoryRow, TensorBoard, read_history, write_history


def row(step, **changes):
    names = [field.name for field in dataclasses.fields(HistoryRow)]
    numbers = {name: (k + 1) / 7 for k, name in enumerate(names)}
    fixed = {"step": step, "size": 128, "best": step % 2 == 0}
    return HistoryRow(**{**numbers, **fixed, **changes})


class TestHistory:
    def test_round_trip(self, tmp_path):
        rows = [row(1), row(2, loss=float("inf"), seconds=1e-30), row(30)]
        path = tmp_path / "run" / "history.csv"
        write_history(path, rows)
        assert read_history(path, 30) == rows
        assert path.read_text(encoding="utf-8").startswith("step,size,learning_rate,seconds,train_")

    def test_up_to_a_step(self, tmp_path):
        write_history(tmp_path / "history.csv", [row(1), row(2), row(3)])
        assert [r.step for r in read_history(tmp_path / "history.csv", 2)] == [1, 2]

    def test_no_file(self, tmp_path):
        assert read_history(tmp_path / "history.csv", 9) == []

    @pytest.mark.parametrize(
        "content", ["step,size\n1,128\n", "step,size\none,128\n", "\x89PNG,\n1,2\n"]
    )
    def test_another_file(self, tmp_path, content):
        path = tmp_path / "history.csv"
        path.write_text(content, encoding="utf-8")
        with pytest.raises(RunError, match=r"history\.csv: can't be read as a training history"):
            read_history(path, 9)


def events(folder):
    """(step, name) -> value of all event files: a float, or a decoded image."""
    found = {}
    for path in sorted(folder.iterdir()):
        for record in tf.data.TFRecordDataset(str(path)):
            event = tf.compat.v1.Event.FromString(record.numpy())
            for value in event.summary.value:
                content = tf.make_ndarray(value.tensor)
                if value.metadata.plugin_data.plugin_name == "images":
                    # Width and height stand before the images.
                    content = tf.io.decode_png(content[2]).numpy()
                found[event.step, value.tag] = content
    return found


class TestTensorBoard:
    def test_scalars(self, tmp_path):
        rows = [row(5), row(10, held_out_auroc=0.75)]
        with contextlib.closing(TensorBoard(tmp_path)) as board:
            for one in rows:
                board.scalars(one)
        found = events(tmp_path)
        expected = {
            "loss/train": "train_loss",
            "loss/select": "loss",
            "criterion": "criterion",
            "held_out_auroc": "held_out_auroc",
            "error_outside/train": "train_outside",
            "error_outside/select_inference": "outside",
            "error_outside/select_training_mode": "outside_training",
            "error_inside/train": "train_inside",
            "error_inside/select_inference": "inside",
            "error_inside/select_training_mode": "inside_training",
            "learning_rate": "learning_rate",
        }
        assert found.keys() == {(one.step, tag) for one in rows for tag in expected}
        for one in rows:
            for tag, name in expected.items():
                assert found[one.step, tag] == np.float32(getattr(one, name))

    def test_sheet(self, tmp_path, rng):
        x_hat, reconstruction = rng.random((2, 2, 16, 24, 3), dtype=np.float32)
        maps = 0.1 * rng.random((2, 16, 24), dtype=np.float32)
        with contextlib.closing(TensorBoard(tmp_path)) as board:
            board.sheet(7, x_hat, reconstruction, maps)
        ((key, sheet),) = events(tmp_path).items()
        assert key == (7, "select")
        assert sheet.shape == (2 * 16, 3 * 24, 3)
        # A row for each image; the map's maximum over both is white.
        columns = (x_hat, reconstruction, np.repeat(maps[..., None] / maps.max(), 3, axis=-1))
        for k in range(2):
            expected = 255.0 * np.concatenate([column[k] for column in columns], axis=1)
            np.testing.assert_allclose(sheet[16 * k : 16 * k + 16], expected, atol=1.0)

    def test_sheet_of_perfect_reconstructions(self, tmp_path):
        with contextlib.closing(TensorBoard(tmp_path)) as board:
            board.sheet(1, np.ones((1, 8, 8, 3)), np.ones((1, 8, 8, 3)), np.zeros((1, 8, 8)))
        assert not events(tmp_path)[1, "select"][:, 16:].any()
