"""The warm-up: supervised training on random right answers, stopped early, kept on disk."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from ..errors import RunFormatError
from .model import PolicyModel, build_model
from .settings import Start
from .streams import stream, stream_seed
from .tasks import task_named

OnStep = Callable[[int], None]


def train_start(start: Start, on_step: OnStep | None = None) -> PolicyModel:
    """A model trained to imitate random right answers for ``start.stop`` steps.

    Cross-entropy on the response, AdamW, learning rate falling linearly to 0 at ``start.schedule``.
    """
    task = task_named(start.task)
    examples = task.examples(start.chains, stream_seed(start.seed, "chains"), start.operator_weights)
    data = torch.from_numpy(examples)
    model = build_model(stream_seed(start.seed, "model"), start.model, task.response_length)
    optimizer = torch.optim.AdamW(model.parameters(), lr=start.learning_rate)
    generator = stream(start.seed, "warm-up")
    for step in range(start.stop):
        optimizer.param_groups[0]["lr"] = start.learning_rate * (1 - step / start.schedule)
        rows = torch.randint(0, len(data), (start.batch,), generator=generator)
        _imitate(model, optimizer, data[rows], start.max_grad_norm)
        if on_step is not None:
            on_step(step + 1)
    return model


def _imitate(model: PolicyModel, optimizer: torch.optim.Optimizer, tokens: Tensor, max_norm: float) -> None:
    logits = model.response_logits(tokens)
    loss = functional.cross_entropy(logits.flatten(0, 1), tokens[:, -model.response_length :].flatten())
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm)
    optimizer.step()


def start_path(folder: Path, start: Start) -> Path:
    """File of a start in a cache folder; its name holds a digest of all settings."""
    settings = json.dumps(asdict(start), sort_keys=True)
    digest = hashlib.blake2b(settings.encode(), digest_size=4).hexdigest()
    return folder / f"start-{start.name}-{digest}.pt"


def load_start(folder: Path, start: Start, on_step: OnStep | None = None) -> PolicyModel:
    """The warm start from the cache folder, trained and stored there where it is missing.

    Errors: RunFormatError for a file that holds no such model.
    """
    path = start_path(folder, start)
    if not path.exists():
        _store(train_start(start, on_step), path)
    model = build_model(0, start.model, task_named(start.task).response_length)
    try:
        model.load_state_dict(torch.load(path, weights_only=True))
    except Exception as error:
        raise RunFormatError(f"{path} holds no warm start of this version: delete it ({error})") from error
    return model


def _store(model: PolicyModel, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    torch.save(model.state_dict(), temporary)
    os.replace(temporary, path)
