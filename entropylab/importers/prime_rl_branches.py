"""Branches of a prime-rl trace: paths of message nodes from root to leaf, with streams over their tokens.

A node holds {parent, token_ids, mask, logprobs}; logprobs (and a node's advantages) are of its masked tokens
only. Streams of an annotation run over the whole branch, null off the loss mask.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from .faults import RecordError
from .json_records import flags, floats, ids, is_number, stable_id
from .steps import Response, usable_tokens

Streams = Mapping[int, Mapping[str, Any]]


def trace_reward(trace: Mapping[str, Any]) -> float | None:
    """Sum of score x weight over the rewards of a trace; None where it has none."""
    rewards = trace.get("rewards")
    if not isinstance(rewards, dict) or not rewards:
        return None
    total = 0.0
    for name, given in rewards.items():
        score = given.get("score") if isinstance(given, dict) else given
        weight = given.get("weight") if isinstance(given, dict) else 1.0
        weight = 1.0 if weight is None else weight
        if score is None or not is_number(score) or not is_number(weight):
            raise RecordError(f"the reward {name!r} must have a finite score and weight, found {given!r}")
        total += float(score) * float(weight)
    return total


def branch_responses(
    trace: Mapping[str, Any], info: Mapping[str, Any], streams: Streams, group: int
) -> Iterator[tuple[Response, str | None]]:
    """Each trained branch as a response, and a sentence where tokens had to be left out."""
    nodes = trace.get("nodes") or []
    if not isinstance(nodes, list) or not all(isinstance(node, dict) for node in nodes):
        raise RecordError("nodes must be a list of objects")
    paths = branch_paths(nodes)
    for index, given in sorted(streams.items()):
        if not given.get("trainer_logprobs"):
            continue
        if not 0 <= index < len(paths):
            raise RecordError(f"an annotation names branch {index}, the trace has {len(paths)}")
        path = [nodes[i] for i in paths[index]]
        sample = stable_id(trace.get("id"), index)
        yield _branch(path, given, info, sample, group, trace_reward(trace))


def branch_paths(nodes: list[dict[str, Any]]) -> list[list[int]]:
    """Node numbers from the root to each leaf, in the order of the leaves."""
    parents = [node.get("parent") for node in nodes]
    for i, parent in enumerate(parents):
        if parent is not None and (not isinstance(parent, int) or not 0 <= parent < i):
            raise RecordError(f"node {i} has the parent {parent!r}, which is no node before it")
    inner = set(parents)
    paths = []
    for leaf in (i for i in range(len(nodes)) if i not in inner):
        path = [leaf]
        while (parent := parents[path[-1]]) is not None:
            path.append(parent)
        paths.append(path[::-1])
    return paths


def _branch(
    path: list[dict[str, Any]],
    given: Mapping[str, Any],
    info: Mapping[str, Any],
    sample: int,
    group: int,
    reward: float | None,
) -> tuple[Response, str | None]:
    tokens = np.concatenate([ids(node.get("token_ids") or [], "token_ids") for node in path])
    n = len(tokens)
    sampled = np.concatenate([_mask(node) for node in path])
    logprobs = _stream(given, "trainer_logprobs", n)
    entropy = _stream(given, "entropies", n)
    trained = sampled & np.isfinite(logprobs)
    if not trained.any():
        raise RecordError("the annotation holds no log-probability of a sampled token")
    advantages = _advantages(path, given, info, n)
    left, note = usable_tokens(trained, ("advantages", advantages))
    masked = None if given.get("is_masked") is None else _stream(given, "is_masked", n)
    response = Response(
        mask=left,
        logprobs=logprobs,
        advantages=advantages,
        token_ids=tokens,
        old_logprobs=_compact(path, "logprobs"),
        entropy=entropy if np.isfinite(entropy).any() else None,
        clipped=None if masked is None else masked == 1.0,
        reward=reward,
        sample_id=sample,
        prompt_id=group,
        text=_text(path),
    ).trimmed(trained)
    return response, note


def _mask(node: Mapping[str, Any]) -> np.ndarray:
    length = len(node.get("token_ids") or [])
    return flags(node["mask"], "mask", length) if node.get("mask") else np.zeros(length, dtype=bool)


def _stream(given: Mapping[str, Any], name: str, n: int) -> np.ndarray:
    """A stream over the branch, NaN where it is null or ends early."""
    values = given.get(name) or []
    if isinstance(values, list) and name == "is_masked":
        values = [None if v is None else float(v) for v in values]
    array = floats(values, name)
    if len(array) > n:
        raise RecordError(f"{name} has {len(array)} values, the branch has {n} tokens")
    return np.concatenate([array, np.full(n - len(array), math.nan)])


def _compact(path: list[dict[str, Any]], name: str) -> np.ndarray | None:
    """A node field of masked tokens only, spread over the branch; None where no node has it."""
    if not any(node.get(name) for node in path):
        return None
    parts = []
    for node in path:
        mask = _mask(node)
        spread = np.full(len(mask), math.nan)
        if node.get(name):
            spread[mask] = floats(node[name], name, int(mask.sum()))
        parts.append(spread)
    return np.concatenate(parts)


def _advantages(
    path: list[dict[str, Any]], given: Mapping[str, Any], info: Mapping[str, Any], n: int
) -> np.ndarray:
    """Advantages of the tokens: the annotation's, else the nodes', else the trace's one for all."""
    if given.get("advantages"):
        return _stream(given, "advantages", n)
    compact = _compact(path, "advantages")
    if compact is not None:
        return compact
    if not is_number(info.get("advantage")):
        raise RecordError("neither the trace nor its annotations hold an advantage")
    return np.full(n, float(info["advantage"]))


def _text(path: list[dict[str, Any]]) -> str | None:
    """The texts that the policy wrote, joined; None where the nodes hold none."""
    found = []
    for node in path:
        message = node.get("message")
        content = message.get("content") if isinstance(message, dict) else None
        if isinstance(content, str) and any(node.get("mask") or []):
            found.append(content)
    return "\n".join(found) if found else None
