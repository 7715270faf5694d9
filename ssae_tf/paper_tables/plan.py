"""What a benchmark is to do: which categories, which methods, with which settings and budget."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from ssae_tf.config import RunConfig, Stage
from ssae_tf.data.mvtec import list_categories
from ssae_tf.errors import DataError
from ssae_tf.paper_tables import published
from ssae_tf.paper_tables.methods import Method


@dataclasses.dataclass(frozen=True)
class Plan:
    """A benchmark before it is run.

    Attributes:
        data: the root of the categories.
        categories: in the order of the tables.
        methods: in the order of the columns; the first decides how many steps `minutes` are.
        configs: category -> the settings that the methods start from.
        minutes: that the training of a run should take; None takes the steps of `configs`.
        study: name of the study whose variants `methods` are; None for a comparison of methods.
        command: what the person typed, for the records.
    """

    data: Path
    categories: tuple[str, ...]
    methods: tuple[Method, ...]
    configs: Mapping[str, RunConfig]
    minutes: float | None = None
    study: str | None = None
    command: tuple[str, ...] = ()

    def config(
        self, method: Method, category: str, stages: Sequence[Stage] | None = None
    ) -> RunConfig:
        """The settings of one run, with stages that were found to take `minutes` if there are any.

        Raises:
            ConfigError: the method's changes do not fit the settings.
        """
        config = method(self.configs[category])
        if stages is None:
            return config
        training = dataclasses.replace(config.training, stages=tuple(stages))
        return dataclasses.replace(config, training=training)

    @property
    def runs(self) -> list[tuple[Method, str]]:
        """All runs in their order: the methods of a category one after the other."""
        return [(method, category) for category in self.categories for method in self.methods]


def choose_categories(root: Path, text: str) -> tuple[str, ...]:
    """The categories that a comma-separated list names.

    Args:
        root: in MVTec AD layout.
        text: names of categories, "all" of the root, or those of MVTec AD's "textures" and
            "objects" that the root has.

    Returns:
        Each once, in the paper's order, those that are not in MVTec AD at the end.

    Raises:
        DataError: no such root, no categories there, an unknown name, or a group of which there
            is none.
    """
    listed = list_categories(root)
    if not listed:
        raise DataError(f"{root}: holds no categories (folders with train/good).")
    known = published.load()
    chosen: set[str] = set()
    for name in (part.strip() for part in text.split(",")):
        if name in listed:
            chosen.add(name)
        elif name == "all":
            chosen.update(listed)
        elif name in known.groups:
            present = set(known.groups[name]) & set(listed)
            if not present:
                raise DataError(
                    f"{root}: holds none of MVTec AD's {name}; found: {', '.join(listed)}."
                )
            chosen |= present
        else:
            raise DataError(
                f"{root}: no category {name!r} (a folder with train/good); "
                f"found: {', '.join(listed)}."
            )
    order = [*known.categories, *(name for name in listed if name not in known.categories)]
    return tuple(name for name in order if name in chosen)
