"""What the trainers call the entropy of the policy and the score of an evaluation: one table."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import MissingInputError, UnknownNameError


@dataclass(frozen=True)
class MetricNames:
    """Names of one trainer: regular expressions, the preferred first. ``note``: what the entropy is."""

    trainer: str
    entropy: tuple[str, ...]
    performance: tuple[str, ...]
    note: str = "mean entropy of the tokens, nats"


METRIC_NAMES: tuple[MetricNames, ...] = (
    MetricNames(
        "verl",
        (r"actor/entropy", r"actor/entropy_loss"),
        (r"val-core/.+/acc/mean@\d+", r"val-core/.+/reward/mean@\d+", r"val/test_score/.+"),
    ),
    MetricNames(
        "prime-rl",
        (r"entropy/all/mean",),
        (r"eval/.+/effective/.*avg@\d+", r"eval/.+/all/.*avg@\d+", r"eval/.+/avg@\d+"),
    ),
    MetricNames("OpenRLHF", (r"train/entropy_loss", r"entropy_loss"), (r"(?:eval/)?eval_.+_pass1",)),
    MetricNames(
        "slime, miles",
        (r"rollout/entropy", r"train/entropy_loss"),
        (r"eval/(?!step$|epoch$|global_step$|eval_)[^/-]+",),
    ),
    MetricNames(
        "NeMo-RL",
        (r"train/approx_entropy",),
        (r"validation/accuracy",),
        "estimate from the sampled tokens' log-probabilities, nats",
    ),
    MetricNames("TRL", (r"entropy", r"train/entropy"), (r"eval_reward", r"eval/reward")),
)
"""The trainers whose names are known; a log of another needs --entropy and --performance."""


@dataclass(frozen=True)
class Chosen:
    """The two columns of a fit, and the trainer by whose names they were found (None: both were given)."""

    entropy: str
    performance: str
    trainer: str | None = None


def choose_columns(names: Sequence[str], entropy: str | None, performance: str | None, source: str) -> Chosen:
    """The columns named, or found by the names of a known trainer.

    A name also stands for the one column ``<run> - <name>`` of a W&B panel export. Raises `UnknownNameError`
    for a name that is not there, `MissingInputError` where none, or more than one, can be found.
    """
    given = {
        role: None if name is None else resolve_name(name, names, source)
        for role, name in (("entropy", entropy), ("performance", performance))
    }
    if given["entropy"] is not None and given["performance"] is not None:
        return Chosen(given["entropy"], given["performance"])
    plain = {plain_name(name): name for name in reversed(names) if not _is_band(name)}
    for row in METRIC_NAMES:
        h = given["entropy"] or _first(row.entropy, plain, "entropy", source)
        r = given["performance"] or (h and _first(row.performance, plain, "performance", source))
        if h and r:
            return Chosen(h, r, row.trainer)
    raise MissingInputError(_not_found(names, given, source))


def choose_performance(names: Sequence[str], performance: str | None, source: str) -> str | None:
    """The column of the evaluations: the one named, else by the names of a known trainer, else None."""
    if performance is not None:
        return resolve_name(performance, names, source)
    plain = {plain_name(name): name for name in reversed(names) if not _is_band(name)}
    for row in METRIC_NAMES:
        if _first(row.entropy, plain, "entropy", source):
            return _first(row.performance, plain, "performance", source)
    return None


def resolve_name(name: str, names: Sequence[str], source: str) -> str:
    """The column of a name; `UnknownNameError` lists the columns there are."""
    if name in names:
        return name
    panels = [column for column in names if not _is_band(column) and plain_name(column) == name]
    if len(panels) == 1:
        return panels[0]
    raise UnknownNameError(f"No column {name!r} in {source}; it has: {', '.join(names)}")


def plain_name(column: str) -> str:
    """The metric's name without the run's name of a W&B panel export."""
    return column.rsplit(" - ", 1)[-1]


def _is_band(column: str) -> bool:
    return column.endswith(("__MIN", "__MAX"))


def _first(patterns: Sequence[str], plain: dict[str, str], role: str, source: str) -> str | None:
    for pattern in patterns:
        found = [column for name, column in plain.items() if re.fullmatch(pattern, name)]
        if len(found) > 1:
            raise MissingInputError(
                f"{source} holds several columns for the {role}: name one with --{role} COL: "
                f"{', '.join(sorted(found))}"
            )
        if found:
            return found[0]
    return None


def _not_found(names: Sequence[str], given: dict[str, str | None], source: str) -> str:
    options = " ".join(f"--{role} COL" for role, name in given.items() if name is None)
    known = ", ".join(row.trainer for row in METRIC_NAMES)
    return (
        f"{source} is a metrics file whose columns are not those of a known trainer ({known}): "
        f"name them with {options}; it has: {', '.join(names)}"
    )
