"""Two ranks of real GRPO trainings over gloo; each leaves what it trained on for the test."""

from __future__ import annotations

import json
import os
import socket
import sys
import warnings
from pathlib import Path

import torch
from tiny_trl import count_reward, length_reward, make_trainer
from watch import watch

import entropylab as el
from entropylab.losses.settings import from_dict


def train(folder: Path, options: dict) -> None:
    trainer = make_trainer(
        folder,
        rewards=[count_reward, length_reward],
        max_grad_norm=0.0,
        dtype=torch.float64,
        gradient_accumulation_steps=2,
        evaluate=True,
        eval_strategy="steps",
        eval_steps=2,
        **({"ddp_find_unused_parameters": False} | options["settings"]),
    )
    watcher = watch(trainer)
    control = from_dict(options["control"])
    with el.attach(trainer, folder / "run", control=control, head=options.get("head", "logits")):
        trainer.train()
    rank = trainer.accelerator.process_index
    kept = [
        {"step": u.step, "state": u.model.state_dict(), "gradients": u.gradients, "pieces": u.pieces}
        for u in watcher.updates
    ]
    torch.save({"updates": kept, "logs": trainer.state.log_history}, folder / f"rank{rank}.pt")


def fork() -> tuple[int, int]:
    """(rank, process of the other rank or 0): two ranks of one process that has imported everything."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    child = os.fork()
    rank = "1" if child == 0 else "0"
    os.environ |= {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return int(rank), child


def main() -> None:
    rank, other = fork()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    for name, options in json.loads(sys.argv[2]).items():
        train(Path(sys.argv[1]) / name, options)
    if rank == 0 and os.waitpid(other, 0)[1] != 0:
        sys.exit("rank 1 failed")


if __name__ == "__main__":
    main()
