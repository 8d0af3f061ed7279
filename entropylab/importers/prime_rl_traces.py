"""prime-rl traces: ``traces/stream`` holds episodes, ``traces/annotations`` what was learned later.

PrimeIntellect-ai/prime-rl #3444 and #3465, src/prime_rl/monitors/file and trainer/rl/annotations.py. Rollouts
that the trainer did not annotate were not trained on and are left out; those of kind "eval" are evaluations.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .faults import RecordError, UnrecognizedSourceError
from .json_records import stable_id
from .prime_rl_branches import branch_responses, trace_reward
from .steps import Context, ImportedEvaluation, ImportedStep, Response
from .streams import Address, addressed, chunks

ANNOTATION_VERSION = 1


@dataclass
class _Notes:
    """What the annotations say of a trace: its merged info, and where its token streams lie."""

    info: dict[str, Any] = field(default_factory=dict)
    streams: list[Address] = field(default_factory=list)


@dataclass(frozen=True)
class _Trace:
    """A trained trace: where its episode lies, its number in it, its annotations and its group."""

    address: Address
    number: int
    notes: _Notes
    group: int


@dataclass
class _Contents:
    """The stream, sorted: trained traces by step, evaluation rewards by (step, environment) and group."""

    steps: dict[int, list[_Trace]] = field(default_factory=dict)
    scores: dict[tuple[int, str], dict[int, list[float]]] = field(default_factory=dict)
    untrained: int = 0


def find(source: Path) -> list[Path]:
    """The chunks of the stream, or its one file, at or below the source, which must hold one run."""
    if source.is_file():
        return []
    folders = [source, *sorted(source.rglob("traces"))]
    streams = [found for folder in folders if folder.name == "traces" and (found := _stream(folder))]
    if len(streams) > 1:
        places = ", ".join(str(found[0]) for found in streams)
        raise UnrecognizedSourceError(f"{source} holds several runs of prime-rl; name one of: {places}")
    return streams[0] if streams else []


def _stream(traces: Path) -> list[Path]:
    single = traces / "stream.jsonl"
    return chunks(traces / "stream") or ([single] if single.is_file() else [])


def read(files: list[Path], context: Context) -> Iterator[ImportedStep | ImportedEvaluation]:
    """The evaluations, then the steps in order."""
    traces = files[0].parent.parent if files[0].parent.name == "stream" else files[0].parent
    notes, contents = _annotations(traces, context), _Contents()
    for file in files:
        for address, episode in addressed(file, context.scratch, context.faults):
            with context.faults.at(address.place):
                _sort_in(address, episode, notes, contents)
    context.notes["untrained_rollouts"] = contents.untrained
    yield from _evaluations(contents)
    for step in sorted(contents.steps):
        found: list[Response] = []
        for trace in contents.steps[step]:
            with context.faults.at(trace.address.place):
                found += _responses(trace, context)
        if found:
            yield ImportedStep(step, found)


def _annotations(traces: Path, context: Context) -> dict[str, _Notes]:
    """All annotations by trace, of every producer in write order; token streams are only addressed."""
    root = traces / "annotations"
    files = [p for p in sorted(root.glob("*.jsonl")) if not p.name.endswith(".index.jsonl")]
    files += [chunk for folder in sorted(root.glob("*/")) for chunk in chunks(folder)]
    found: dict[str, _Notes] = {}
    for file in files:
        for address, update in addressed(file, context.scratch, context.faults):
            with context.faults.at(address.place):
                _annotate(found, address, update)
    return found


def _annotate(found: dict[str, _Notes], address: Address, update: dict[str, Any]) -> None:
    if update.get("version") != ANNOTATION_VERSION:
        raise RecordError(f"version {update.get('version')!r}, this importer reads {ANNOTATION_VERSION}")
    trace, info, branches = update.get("trace_id"), update.get("info") or {}, update.get("branches") or []
    if not isinstance(trace, str) or not isinstance(info, dict) or not isinstance(branches, list):
        raise RecordError("an annotation needs trace_id (string), info (object) and branches (list)")
    notes = found.setdefault(trace, _Notes())
    notes.info = _merged(notes.info, info)
    if branches:
        notes.streams.append(address)


def _merged(old: Any, new: Any) -> Any:
    if not isinstance(old, dict) or not isinstance(new, dict):
        return new
    return {**old, **{key: _merged(old.get(key), value) for key, value in new.items()}}


def _sort_in(address: Address, episode: dict[str, Any], notes: dict[str, _Notes], to: _Contents) -> None:
    traces = _list_of_objects(episode, "traces")
    group = stable_id("group", _inside(episode, "group", "id") or address.place)
    for number, trace in enumerate(traces):
        known = notes.get(str(trace.get("id")), _Notes())
        info = _merged(trace.get("info") or {}, known.info)
        if info.get("kind") == "eval":
            _score(episode, trace, info, group, to)
        elif known.streams and (step := _step(info)) is not None:
            to.steps.setdefault(step, []).append(_Trace(address, number, known, group))
        else:
            to.untrained += 1


def _list_of_objects(record: dict[str, Any], name: str) -> list[dict[str, Any]]:
    found = record.get(name) or []
    if not isinstance(found, list) or not all(isinstance(x, dict) for x in found):
        raise RecordError(f"{name} must be a list of objects")
    return found


def _inside(record: dict[str, Any], *names: str) -> Any:
    """A nested field, None where there is none."""
    value: Any = record
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _step(info: dict[str, Any], *order: tuple[str, str]) -> int | None:
    """The step that trained on the trace: where it was shipped, else what the trainer noted."""
    for names in order or (("ship", "step"), ("train", "trained_at_step")):
        step = _inside(info, *names)
        if isinstance(step, int) and not isinstance(step, bool) and step >= 0:
            return step
    return None


def _score(
    episode: dict[str, Any], trace: dict[str, Any], info: dict[str, Any], group: int, to: _Contents
) -> None:
    """Keep the reward of an evaluation at the step whose policy it is of."""
    step, reward = _step(info, ("dispatch", "step"), ("arrival", "step")), trace_reward(trace)
    if step is not None and reward is not None:
        name = str(_inside(episode, "env", "name") or _inside(episode, "env", "id") or "environment")
        to.scores.setdefault((step, name), {}).setdefault(group, []).append(reward)


def _evaluations(contents: _Contents) -> Iterator[ImportedEvaluation]:
    """Mean over groups of their mean reward: metric "reward" where there is one environment."""
    several = len({name for _, name in contents.scores}) > 1
    for (step, name), groups in sorted(contents.scores.items()):
        value = sum(sum(rewards) / len(rewards) for rewards in groups.values()) / len(groups)
        metric = f"reward/{name}"[:60] if several else "reward"
        yield ImportedEvaluation(step, metric, value, len(groups))


def _responses(trace: _Trace, context: Context) -> list[Response]:
    """The trained branches of one trace, with the newest streams of its annotations."""
    record = trace.address.load()["traces"][trace.number]
    streams: dict[int, dict[str, list[Any]]] = {}
    for address in trace.notes.streams:
        for branch in _list_of_objects(address.load(), "branches"):
            index = branch.get("index")
            if isinstance(index, int):
                streams.setdefault(index, {}).update({k: v for k, v in branch.items() if v})
    info = _merged(record.get("info") or {}, trace.notes.info)
    found = []
    for response, note in branch_responses(record, info, streams, trace.group):
        if note:
            context.faults.report(trace.address.place, note)
        found.append(response)
    return found
