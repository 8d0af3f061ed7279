"""The marker of one rank's step: written last, so that its presence says that the step is whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

from ..errors import RunFormatError
from ..schema import FORMAT_VERSION
from .fields import finite_moments, instant, mapping, number, numbers, text, whole
from .moments import Moments
from .paths import RESPONSES, TOKENS
from .pruned import ExactOfRanks, Pruned, exact_columns
from .run_info import FORMAT_FIELD
from .summary import Partial, Row

T = TypeVar("T")

_INT16, _INT32 = 2**15 - 1, 2**31 - 1


@dataclass(frozen=True)
class FileRef:
    """A file that a marker vouches for: its path inside the run and the rows of this rank and step in it."""

    path: str
    rows: int


@dataclass(frozen=True)
class UpdateSummary:
    """The exact summary of one rank's tokens of one update.

    ``exact`` holds the columns that do not merge over ranks (top means, quadrants); ``metrics`` the mean over
    the micro-steps of each scalar that was given, None where one was not finite; ``covariance_set`` what
    `find_covariance_set` found.
    """

    update: int
    partial: Partial
    exact: Row
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    covariance_set: str | None = None


@dataclass(frozen=True)
class Marker:
    """One rank's step of one attempt.

    ``run_attempt``: the newest attempt of rank 0 when the step was written, None in logs of before.
    ``pruned``: rows that were stored once and are no more. ``exact_of_all_ranks``: what needed the rows of
    several ranks, only in the marker of the lowest rank of a step whose rows were pruned.
    """

    step: int
    rank: int
    attempt: int
    world_size: int
    attempt_started: str
    created: str
    tokens: FileRef | None
    responses: FileRef | None
    n_tokens: int
    top_means: Row
    updates: tuple[UpdateSummary, ...]
    run_attempt: int | None = None
    pruned: Pruned | None = None
    exact_of_all_ranks: ExactOfRanks | None = None

    @property
    def key(self) -> tuple[int, int, int]:
        """(step, rank, attempt)."""
        return self.step, self.rank, self.attempt

    @property
    def all_tokens_stored(self) -> bool:
        """Whether every token of the step is a row of the token file; rows that were pruned are none."""
        return (self.tokens.rows if self.tokens else 0) == self.n_tokens

    def to_json(self) -> dict[str, Any]:
        """The marker as strict JSON."""
        value = dict(vars(self))
        value["tokens"] = self.tokens and asdict(self.tokens)
        value["responses"] = self.responses and asdict(self.responses)
        value["updates"] = [_update_to_json(u) for u in self.updates]
        pruned, exact = value.pop("pruned"), value.pop("exact_of_all_ranks")
        value |= {} if pruned is None else {"pruned": asdict(pruned)}
        value |= {} if exact is None else {"exact_of_all_ranks": exact.to_json()}
        return {FORMAT_FIELD: FORMAT_VERSION, "kind": "marker", **value}

    @classmethod
    def from_json(cls, value: Mapping[str, Any], source: str) -> Marker:
        """The marker of a JSON object; `RunFormatError` naming ``source`` where a field is wrong."""
        try:
            world_size = whole(value, "world_size", 1, _INT16)
            marker = cls(
                step=whole(value, "step", 0, _INT32),
                rank=whole(value, "rank", 0, world_size - 1),
                attempt=whole(value, "attempt", 1, _INT32),
                world_size=world_size,
                attempt_started=instant(value, "attempt_started"),
                created=instant(value, "created"),
                tokens=_file_ref(value["tokens"], TOKENS),
                responses=_file_ref(value["responses"], RESPONSES),
                n_tokens=whole(value, "n_tokens"),
                top_means=numbers(value, "top_means"),
                updates=tuple(_update_from_json(u) for u in value["updates"]),
                run_attempt=_run_attempt(value),
                pruned=_optional(value, "pruned", Pruned.from_json),
                exact_of_all_ranks=_optional(value, "exact_of_all_ranks", ExactOfRanks.from_json),
            )
            _check_pruned(marker)
        except (KeyError, TypeError, ValueError) as error:
            raise RunFormatError(f"{source}: not a whole marker of entropylab ({error!r})") from error
        return marker


def _run_attempt(value: Mapping[str, Any]) -> int | None:
    return None if value.get("run_attempt") is None else whole(value, "run_attempt", 1, _INT32)


def _optional(value: Mapping[str, Any], name: str, read: Callable[[Mapping[str, Any]], T]) -> T | None:
    """A field that older markers lack."""
    return None if value.get(name) is None else read(mapping(value, name))


def _check_pruned(marker: Marker) -> None:
    """ValueError where a marker names a file of rows that it says are gone."""
    for kind, ref in ((TOKENS, marker.tokens), (RESPONSES, marker.responses)):
        if marker.pruned is not None and getattr(marker.pruned, kind) and ref is not None:
            raise ValueError(f"names a file of {kind} that were pruned")


def _file_ref(value: Mapping[str, Any] | None, kind: str) -> FileRef | None:
    if value is None:
        return None
    path = text(value, "path")
    if not path.startswith(f"{kind}/") or ".." in path.split("/"):
        raise ValueError(f"path must lie in {kind}/ of the run, it is {path[:80]!r}")
    return FileRef(path, whole(value, "rows", 1))


def _update_to_json(update: UpdateSummary) -> dict[str, Any]:
    partial = dict(vars(update.partial))
    partial["moments"] = {name: m.to_list() for name, m in update.partial.moments.items()}
    return {
        "update": update.update,
        "covariance_set": update.covariance_set,
        "partial": partial,
        "exact": dict(update.exact),
        "metrics": dict(update.metrics),
    }


def _update_from_json(value: Mapping[str, Any]) -> UpdateSummary:
    label = value["covariance_set"]
    return UpdateSummary(
        update=whole(value, "update", 0, _INT16),
        partial=_partial_from_json(mapping(value, "partial")),
        exact=exact_columns(numbers(value, "exact")),
        metrics=numbers(value, "metrics"),
        covariance_set=None if label is None else text(value, "covariance_set"),
    )


def _partial_from_json(value: Mapping[str, Any]) -> Partial:
    highest = value["ratio_max"]
    counts = ("n_tokens", "n_responses", "nonfinite_count", "selected_count", "zero_advantage_count")
    return Partial(
        **{name: whole(value, name) for name in counts},
        positive_mass=number(value["positive_mass"], "positive_mass"),
        negative_mass=number(value["negative_mass"], "negative_mass"),
        ratio_max=None if highest is None else number(highest, "ratio_max"),
        moments={
            name: Moments(*finite_moments(m, f"moments[{name!r}]"))
            for name, m in mapping(value, "moments").items()
        },
    )
