"""Shared by every room's tests: a small real GRPO run, written through the Recorder, and the mark `quick`."""

from __future__ import annotations

import os
from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import entropylab as el

VOCABULARY = ["+", "-", "*", "=", "1", "2", "3", "<end>"]
END = len(VOCABULARY) - 1
LENGTH = 6
PPO_CLIP = 0.2


class TablePolicy:
    """A softmax policy of one table a prompt plus a shared one: logits [prompt, position, token]."""

    def __init__(self, prompts: int, rng: np.random.Generator) -> None:
        self.target = rng.integers(0, END, size=(prompts, LENGTH))
        self.own = rng.normal(0.0, 0.9, size=(prompts, LENGTH, len(VOCABULARY)))
        self.shared = np.zeros((LENGTH, len(VOCABULARY)))
        self.shared[:3, END] = -9.0
        self.shared[3:, END] = -1.5
        np.add.at(self.own, (*np.indices(self.target.shape), self.target), 1.2)

    def log_probs(self, prompt: np.ndarray) -> np.ndarray:
        logits = self.own[prompt] + self.shared
        return logits - np.log(np.exp(logits).sum(-1, keepdims=True))

    def sample(self, prompt: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Token ids and mask [B, T]; the mask ends with the first <end>."""
        gumbel = rng.gumbel(size=(len(prompt), LENGTH, len(VOCABULARY)))
        return self.finish((self.log_probs(prompt) + gumbel).argmax(-1))

    def finish(self, tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        ended = np.cumsum(tokens == END, axis=1) - (tokens == END)
        return tokens, ended == 0

    def reward(self, prompt: np.ndarray, tokens: np.ndarray, mask: np.ndarray) -> np.ndarray:
        return (((tokens == self.target[prompt]) & mask).sum(1) >= 4).astype(np.float64)

    def learn(self, prompt: np.ndarray, tokens: np.ndarray, gain: np.ndarray, lr: float) -> None:
        """One ascent step on Σ gain · log p."""
        gradient = -np.exp(self.log_probs(prompt)) * gain[..., None]
        np.add.at(gradient, (*np.indices(tokens.shape), tokens), gain)
        np.add.at(self.own, prompt, lr * gradient)
        self.shared += lr * gradient.mean(0)


def token_values(logprob: np.ndarray, x: dict[str, np.ndarray], fraction: float) -> dict[str, np.ndarray]:
    """What a loss with the PPO clip and Clip-Cov's highest-covariance form uses, [B, T]."""
    mask, advantage = x["mask"], np.broadcast_to(x["advantages"][:, None], logprob.shape)
    covariance = (logprob - logprob[mask].mean()) * (advantage - advantage[mask].mean())
    covariance = np.where(mask, covariance, np.nan)
    selected = np.zeros(mask.shape, dtype=bool)
    if fraction:
        k = max(1, int(fraction * mask.sum()))
        highest = np.argsort(np.where(mask, -covariance, np.inf), axis=None, kind="stable")[:k]
        selected.ravel()[highest] = True
    ratio = np.exp(logprob - x["old_logprobs"])
    clipped = mask & np.where(advantage > 0, ratio > 1 + PPO_CLIP, (ratio < 1 - PPO_CLIP) & (advantage < 0))
    weight = np.where(mask & ~selected & ~clipped, 1.0, 0.0)
    return {
        "covariance": covariance,
        "selected": selected,
        "ratio": np.where(mask, ratio, np.nan),
        "clipped": clipped,
        "weight": weight,
    }


def entropy_of(log_probs: np.ndarray) -> np.ndarray:
    return -(np.exp(log_probs) * log_probs).sum(-1)


def taken(log_probs: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    return np.take_along_axis(log_probs, tokens[..., None], axis=-1)[..., 0]


def rollout(policy: TablePolicy, step: int, rng: np.random.Generator, prompts: int, group: int) -> dict:
    prompt = np.repeat(rng.permutation(prompts), group)
    tokens, mask = policy.sample(prompt, rng)
    rewards = policy.reward(prompt, tokens, mask)
    grouped = rewards.reshape(-1, group)
    advantages = (grouped - grouped.mean(1, keepdims=True)) / (grouped.std(1, keepdims=True) + 1e-6)
    return {
        "prompt_ids": prompt,
        "sample_ids": step * len(prompt) + np.arange(len(prompt)),
        "token_ids": tokens,
        "mask": mask,
        "rewards": rewards,
        "advantages": advantages.ravel(),
        "old_logprobs": taken(policy.log_probs(prompt), tokens),
    }


def train_step(policy: TablePolicy, x: dict, updates: int, fraction: float, lr: float) -> list[dict]:
    """Train on one rollout in ``updates`` mini-batches; what `Recorder.record` gets for each."""
    records = []
    for update, rows in enumerate(np.array_split(np.arange(len(x["mask"])), updates)):
        part = {name: value[rows] for name, value in x.items()}
        log_probs = policy.log_probs(part["prompt_ids"])
        logprob = taken(log_probs, part["token_ids"])
        used = token_values(logprob, part, fraction)
        gain = part["advantages"][:, None] * used["weight"] * np.nan_to_num(used["ratio"])
        policy.learn(part["prompt_ids"], part["token_ids"], gain, lr)
        loss = -(part["advantages"][:, None] * used["ratio"])[part["mask"]].mean()
        texts = [
            " ".join(VOCABULARY[t] for t in row[m])
            for row, m in zip(part["token_ids"], part["mask"], strict=True)
        ]
        records.append(
            {
                **part,
                "out": SimpleNamespace(tokens=used),
                "logprobs": logprob,
                "entropy": entropy_of(log_probs),
            }
            | {"update": update, "texts": texts, "metrics": {"loss": loss, "lr": lr}}
        )
    for record in records:
        record["entropy_after"] = entropy_of(policy.log_probs(record["prompt_ids"]))
    return records


def evaluate(policy: TablePolicy, seed: int, step: int) -> dict[str, float]:
    rng = np.random.default_rng([seed, step, 1])
    prompt = np.arange(len(policy.own))
    right = np.array([policy.reward(prompt, *policy.sample(prompt, rng)) for _ in range(8)])
    greedy = policy.reward(prompt, *policy.finish(policy.log_probs(prompt).argmax(-1)))
    return {"accuracy": right.mean(), "accuracy_greedy": greedy.mean(), "pass@8": right.any(0).mean()}


def rank_part(record: dict, rank: int, world_size: int) -> dict:
    """The rows of one rank; what the loss used stays that of the whole update."""
    part = {k: v[rank::world_size] if isinstance(v, np.ndarray | list) else v for k, v in record.items()}
    tokens = {k: v[rank::world_size] for k, v in record["out"].tokens.items()}
    return {**part, "out": SimpleNamespace(tokens=tokens)}


def write_run(
    path: str | Path,
    *,
    method: str = "clip_cov",
    fraction: float | None = None,
    steps: int = 12,
    updates: int = 4,
    prompts: int = 32,
    group: int = 8,
    lr: float = 0.3,
    seed: int = 0,
    world_size: int = 1,
    evaluate_every: int = 1,
    config: dict | None = None,
    token_sampling: el.TokenSampling | None = None,
) -> el.Run:
    """Train a table policy by GRPO on a verifiable task and record every token; deterministic in ``seed``.

    ``fraction`` of the tokens, those of highest covariance, learn nothing (default 0.02, 0 for the baseline).
    Evaluations of split "validation" at 0, ``evaluate_every``, ..., ``steps``: accuracy, accuracy_greedy,
    pass@8. ``world_size`` ranks share the responses of each update.
    """
    fraction = (0.0 if method == "baseline" else 0.02) if fraction is None else fraction
    rng = np.random.default_rng(seed)
    policy = TablePolicy(prompts, rng)
    settings = {"method_key": "clip_cov_top" if fraction else "grpo", "seed": seed, "vocabulary": VOCABULARY}
    control = (
        {"name": "ClipCov", "fraction": fraction, "select": "top", "action": "detach"} if fraction else None
    )
    settings |= {"control": control, "surrogate": {"name": "PPOClip", "low": PPO_CLIP, "high": PPO_CLIP}}
    shared = {"config": settings | (config or {}), "method": method, "token_sampling": token_sampling}
    recorders = [el.Recorder(path, rank=r, world_size=world_size, **shared) for r in range(world_size)]
    for step in range(steps + 1):
        if step % evaluate_every == 0 or step == steps:
            for metric, value in evaluate(policy, seed, step).items():
                recorders[0].evaluate(step, metric=metric, value=value, n=prompts)
        if step == steps:
            break
        for record in train_step(policy, rollout(policy, step, rng, prompts, group), updates, fraction, lr):
            for rank, recorder in enumerate(recorders):
                recorder.record(step, **rank_part(record, rank, world_size))
        for recorder in recorders:
            recorder.end_step(step)
    for recorder in recorders:
        recorder.close()
    return el.open_run(path)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """`quick(*patterns)`: of a test's variants those whose id fits a pattern are quick, the others long."""
    unused: dict[str, set[str]] = {}
    for item in items:
        if mark := item.get_closest_marker("quick"):
            fits = {pattern for pattern in mark.args if fnmatchcase(item.callspec.id, pattern)}
            unused.setdefault(item.nodeid.partition("[")[0], set(mark.args)).difference_update(fits)
            if not fits:
                item.add_marker(pytest.mark.long)
    wrong = [f"{test}: {sorted(patterns)}" for test, patterns in unused.items() if patterns]
    if wrong and not any("::" in argument for argument in config.args):
        raise pytest.UsageError(f"no variant of a test has the id that its mark quick names: {wrong}")


@pytest.fixture(scope="session")
def influence_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder "lab" with a baseline and a Clip-Cov run of the lab, 12 steps, every 4th with influence.

    The policy has hardly been warmed up; its reward is whether the first token is even.
    """
    pytest.importorskip("torch")
    from entropylab.lab import experiment, rollout, training
    from entropylab.lab.settings import DEMO, LabSettings, Start

    folder = tmp_path_factory.mktemp("influence")
    start = Start("hardly", stop=20, schedule=20, chains=640)
    sizes = {"steps": 12, "prompts": 8, "mini_batches": 2, "evaluate_every": 12, "influence_every": 4}
    settings = LabSettings(start, **sizes)
    with pytest.MonkeyPatch.context() as patch, experiment.one_thread():
        patch.setattr(rollout, "rewards_of", lambda _, responses, task: (responses[:, 0] % 2 == 0).float())
        patch.setattr(training, "held_out_problems", lambda task, split: task.problem_ids(split)[:8])
        for method in DEMO.methods[:2]:
            experiment.make_run(experiment.RunPlan(folder / "lab" / method.label, method, settings), folder)
    return folder / "lab"


@pytest.fixture(scope="session")
def make_run() -> Callable[..., el.Run]:
    """The factory `write_run`: ``make_run(path, method=..., steps=..., seed=...) -> Run``.

    Half of its time would go by in fsync; a run that a test only reads need not outlive a power cut.
    """

    def make(path: str | Path, **settings: Any) -> el.Run:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "fsync", lambda descriptor: None)
            return write_run(path, **settings)

    return make
