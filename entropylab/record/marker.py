"""The marker of one rank's step: written last, so that its presence says that the step is whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ..errors import RunFormatError
from ..schema import FORMAT_VERSION
from .moments import Moments
from .run_info import FORMAT_FIELD
from .summary import Partial, Row


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
    """One rank's step of one attempt."""

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

    @property
    def key(self) -> tuple[int, int, int]:
        """(step, rank, attempt)."""
        return self.step, self.rank, self.attempt

    @property
    def all_tokens_stored(self) -> bool:
        """Whether every token of the step is a row of the token file."""
        return (self.tokens.rows if self.tokens else 0) == self.n_tokens

    def to_json(self) -> dict[str, Any]:
        """The marker as strict JSON."""
        value = dict(vars(self))
        value["tokens"] = self.tokens and asdict(self.tokens)
        value["responses"] = self.responses and asdict(self.responses)
        value["updates"] = [_update_to_json(u) for u in self.updates]
        return {FORMAT_FIELD: FORMAT_VERSION, "kind": "marker", **value}

    @classmethod
    def from_json(cls, value: Mapping[str, Any], source: str) -> Marker:
        """The marker of a JSON object; `RunFormatError` naming ``source`` where a field is wrong."""
        try:
            return cls(
                **{k: int(value[k]) for k in ("step", "rank", "attempt", "world_size", "n_tokens")},
                attempt_started=str(value["attempt_started"]),
                created=str(value["created"]),
                tokens=_file_ref(value["tokens"]),
                responses=_file_ref(value["responses"]),
                top_means=dict(value["top_means"]),
                updates=tuple(_update_from_json(u) for u in value["updates"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise RunFormatError(f"{source}: not a whole marker of entropylab ({error!r})") from error


def _file_ref(value: Mapping[str, Any] | None) -> FileRef | None:
    return None if value is None else FileRef(str(value["path"]), int(value["rows"]))


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
    partial = dict(value["partial"])
    partial["moments"] = {name: Moments(int(m[0]), *m[1:]) for name, m in partial["moments"].items()}
    return UpdateSummary(
        update=int(value["update"]),
        partial=Partial(**partial),
        exact=dict(value["exact"]),
        metrics=dict(value["metrics"]),
        covariance_set=value["covariance_set"],
    )
