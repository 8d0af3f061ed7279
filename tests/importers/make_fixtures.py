"""Makes `fixtures/` with the real writers; run in an environment that holds the packages named.

    python tests/importers/make_fixtures.py verl         # verl 0.9.1 (torchdata, ray)
    python tests/importers/make_fixtures.py trl          # trl 1.16.0, tensorboard 2.21.0
    python tests/importers/make_fixtures.py tensorboard  # tensorboard 2.21.0, tensorboardX 2.6.5
    python tests/importers/make_fixtures.py trackio      # trackio 0.43.0
    python tests/importers/make_fixtures.py sealed       # pyzstd: a chunk sealed as prime-rl seals it

The tests compute what they compare with by `law` here, or read it from the files by other means.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import shutil
import sys
from pathlib import Path

FIXTURES = Path(__file__).parent / "fixtures"
STEPS = 24


def law(step: int) -> tuple[float, float]:
    """An entropy that decays and the performance that follows from it: R = 0.8 - 0.2 exp(H)."""
    entropy = 1.2 * math.exp(-step / 9) + 0.02 * math.sin(step)
    return entropy, 0.8 - 0.2 * math.exp(entropy)


def fresh(name: str) -> Path:
    shutil.rmtree(FIXTURES / name, ignore_errors=True)
    (FIXTURES / name).mkdir(parents=True)
    return FIXTURES / name


def verl() -> None:
    """`_dump_generations` of the trainer, the file logger and the console logger."""
    folder = fresh("verl")
    os.environ["VERL_FILE_LOGGER_PATH"] = str(folder / "file_logger.jsonl")
    from concurrent.futures import ThreadPoolExecutor
    from types import SimpleNamespace

    import numpy as np
    from verl.trainer.ppo.ray_trainer import RayPPOTrainer
    from verl.utils.logger.aggregate_logger import LocalLogger
    from verl.utils.tracking import FileLogger

    trainer = SimpleNamespace(_dump_executor=ThreadPoolExecutor(1), _dump_futures=[])
    trainer._write_generations = RayPPOTrainer._write_generations
    for trainer.global_steps in (1, 2, 3):
        prompts = [f"user\nWhat is {i}+{trainer.global_steps}?\nassistant\n" for i in (1, 1, 2, 2)]
        RayPPOTrainer._dump_generations(
            trainer,
            inputs=prompts,
            outputs=[f"It is {i}. √\nDone" for i in range(4)],
            gts=["2", "2", "3", "3"],
            scores=[0.0, 1.0, 0.5, float(trainer.global_steps)],
            reward_extra_infos_dict={
                "acc": [False, True, False, True],
                "format": [0.25] * 4,
                "uid": list("aabb"),
            },
            dump_path=str(folder / "rollout_data"),
        )
    trainer._dump_executor.shutdown()
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        loggers = [FileLogger("project", "experiment"), LocalLogger()]
        for step in range(STEPS + 1):
            for logger in loggers:
                logger.log(verl_row(step, np), step)
    prefix = "\x1b[36m(TaskRunner pid=4711)\x1b[0m "
    lines = ["Started a local Ray instance.", f"{prefix}Training Progress: 0%|   | 0/24 [00:00<?, ?it/s]"]
    lines += [prefix + line for line in printed.getvalue().splitlines() if "file logger" not in line]
    (folder / "console.log").write_text("\n".join(lines) + "\n")


def verl_row(step: int, np: object) -> dict[str, object]:
    entropy, score = law(step)
    row: dict[str, object] = {}
    if step:
        row |= {"actor/entropy": np.float64(entropy), "actor/pg_loss": -0.01, "training/global_step": step}
    if step % 4 == 0:
        row["val-core/openai/gsm8k/acc/mean@8"] = score
    if step == 7:
        row["actor/entropy"] = float("nan")
    return row


def trl() -> None:
    """A real GRPO training of a tiny model: log_completions, trainer_state.json and TensorBoard."""
    folder = fresh("trl")
    sys.path.insert(0, str(Path(__file__).parents[1] / "trainers" / "trl"))
    from tiny_trl import count_reward, length_reward, make_trainer

    os.chdir(folder)
    trainer = make_trainer(
        ".",
        rewards=[count_reward, length_reward],
        log_completions=True,
        evaluate=True,
        eval_strategy="steps",
        eval_steps=2,
        max_steps=6,
        per_device_train_batch_size=8,
        report_to=["tensorboard"],
    )
    trainer.train()
    trainer.state.save_to_json(str(folder / "trainer_state.json"))
    shutil.move(folder / "output" / "completions", folder / "completions")
    (folder / "runs").mkdir()
    for path in folder.glob("output/runs/*/*tfevents*"):
        shutil.move(path, folder / "runs" / "events.out.tfevents.1.host.1.0")
    shutil.rmtree(folder / "output")


def tensorboard() -> None:
    """Both writers, both encodings of a scalar, things that are no scalars, NaN, and two files of one run."""
    folder = fresh("tensorboard")
    import numpy as np
    from tensorboardX import SummaryWriter as WriterX
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(folder / "torch")
    for step in range(STEPS):
        entropy, score = law(step)
        writer.add_scalar("actor/entropy", entropy, step, new_style=step % 2 == 0)
        if step % 3 == 0:
            writer.add_scalar("val-core/x/acc/mean@8", score, step, double_precision=True)
    writer.add_scalar("actor/kl", float("nan"), 3)
    writer.add_histogram("lengths", np.arange(20.0), 1)
    writer.add_text("note", "x" * 200, 1)
    writer.add_image("picture", np.zeros((3, 40, 40)), 1)
    writer.close()
    writer_x = WriterX(str(folder / "tensorboardX"))
    for step in range(STEPS):
        entropy, score = law(step)
        writer_x.add_scalar("entropy", entropy, step)
        writer_x.add_scalar("eval_reward", score, step)
    writer_x.close()
    for path in folder.glob("*/*tfevents*"):
        path.rename(path.with_name("events.out.tfevents.1.host.1.0"))


def trackio() -> None:
    """Two runs in one database; evaluations every third step."""
    folder = fresh("trackio")
    os.environ["TRACKIO_DIR"] = str(folder)
    import trackio as tracker

    for name in ("baseline", "clip-cov"):
        tracker.init(project="law", name=name, embed=False)
        for step in range(STEPS):
            entropy, score = law(step)
            tracker.log({"train/entropy": entropy, "loss": float("nan") if step == 1 else 0.5}, step=step)
            if step % 3 == 0:
                tracker.log({"eval/reward": score}, step=step)
        tracker.finish()
    import sqlite3

    database = sqlite3.connect(folder / "law.db")
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.execute("PRAGMA journal_mode=DELETE")
    database.execute("PRAGMA page_size=1024")
    database.execute("VACUUM")
    database.close()
    for path in folder.iterdir():
        if path.name != "law.db":
            path.unlink() if path.is_file() else shutil.rmtree(path)


def sealed() -> None:
    """A chunk in seekable zstd frames, as prime-rl #3465 seals them (monitors/file/traces/chunks.py)."""
    folder = fresh("sealed")
    import pyzstd

    lines = [json.dumps({"number": i, "padding": "x" * (i % 97)}) for i in range(500)]
    with pyzstd.SeekableZstdFile(folder / "00000.jsonl.zst", "wb", max_frame_content_size=4096) as file:
        file.write(("\n".join(lines) + "\n").encode())


if __name__ == "__main__":
    for name in sys.argv[1:]:
        {f.__name__: f for f in (verl, trl, tensorboard, trackio, sealed)}[name]()
