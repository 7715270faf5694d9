"""What a reader must know beside the tables: the budget, what failed, where figures are from."""

from __future__ import annotations

from ssae_tf.paper_tables import published
from ssae_tf.paper_tables.plan import Plan
from ssae_tf.paper_tables.results import Results
from ssae_tf.paper_tables.tables import FAILED, OTHER_IMAGES, has_other_images


def missing(results: Results) -> list[str]:
    """Sentences on the runs that failed, and on those that are still to come."""
    lines = [
        f"{method} on {category} {FAILED}: {reason}"
        for (method, category), reason in results.failed.items()
    ]
    pending = [f"{method} on {category}" for method, category in results.pending]
    return [*lines, *([f"Still to come: {', '.join(pending)}."] if pending else [])]


def remarks(results: Results) -> list[str]:
    """Sentences on what is compared: budget, changes of the network, images."""
    known = published.load()
    plan = results.plan
    kind = "variants" if plan.study else "methods"
    lines = [_settings(plan)]
    if plan.minutes is not None:
        lines.append(
            f"{plan.minutes:g} minutes of training, turned into steps at the pace of the first of "
            f"the {kind} in each category; the others take as many steps."
        )
    steps: dict[int, list[str]] = {}
    for category in plan.categories:
        stages = results.stages(category)
        if stages is not None:
            steps.setdefault(sum(stage.steps for stage in stages), []).append(category)
    for number, categories in steps.items():
        lines.append(f"{number} steps for each of the {kind}: {', '.join(categories)}.")
    changed = [
        method.name
        for method in plan.methods
        if any(
            plan.configs[category].model.answer == "gated"
            and plan.config(method, category).model.answer == "plain"
            for category in plan.categories
        )
    ]
    if changed:
        lines.append(
            f"The settings have a gated answer; {', '.join(changed)} have a plain one, because a "
            "gate learns from corruptions alone."
        )
    for category in plan.categories:
        if plan.study is None and has_other_images(results, category):
            train, good, defective = results.images[category]
            trained, tested_good, tested_defective = known.images[category]
            lines.append(
                f"{OTHER_IMAGES} {category} has {train} images to train on and {good} good and "
                f"{defective} defective ones to test on, MVTec AD's has {trained}, {tested_good} "
                f"and {tested_defective}: the published figures are not of these images."
            )
    return lines


def _settings(plan: Plan) -> str:
    """The settings that matter most; benchmark.json has all."""
    config = plan.configs[plan.categories[0]]
    # A study has objectives of its own.
    objective = "" if plan.study else f"objective ({config.objective.equation}), "
    return (
        f"Settings to start from: preset {config.preset}, {objective}norm {config.objective.norm}, "
        f"width {config.model.width:g}."
    )


def sources() -> list[str]:
    """One line for each publication that figures are from."""
    known = published.load()
    names: dict[int, list[str]] = {}
    for table in known.tables.values():
        for source in table.sources:
            if source.reference is not None:
                names.setdefault(source.reference, []).append(source.name)
    lines = [
        f"{', '.join(dict.fromkeys(names[number]))}: {known.references[number]}"
        for number in sorted(names)
    ]
    numbers = ", ".join(str(number) for number in sorted(known.tables))
    return [f"All published columns: as printed in Tables {numbers} of {known.paper}.", *lines]
