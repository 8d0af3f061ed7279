"""Choose the entropy bonus of each regime on the validation split, from a warm-up that nothing else uses.

python docs/study/tune.py --jobs 2
"""

from __future__ import annotations

import argparse
import json
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from itertools import product
from multiprocessing import get_context
from pathlib import Path

from arms import BONUSES, METHOD_REGIMES, REGIMES, TUNING_WARM_UP
from runner import STARTS

from entropylab.lab.evaluation import Evaluation
from entropylab.lab.experiment import one_thread
from entropylab.lab.training import train
from entropylab.lab.warmup import load_start
from entropylab.losses.controls.entropy_bonus import EntropyBonus

OUT = Path(__file__).parent / "results" / "tuning.json"
TUNED = tuple(regime.name for regime in METHOD_REGIMES)
LAST = 3
"""Evaluations at the end whose mean is compared."""


def score(cell: tuple[str, float]) -> float:
    """Mean of greedy accuracy and pass@8 on the validation split over the last evaluations."""
    name, coef = cell
    regime = REGIMES[name]
    settings = regime.settings(TUNING_WARM_UP, 0)
    arm = replace(regime.arm("entropy_bonus"), control=EntropyBonus(coef=coef))
    with one_thread():
        events = train(load_start(STARTS, settings.start), arm, settings)
        found = [e for e in events if isinstance(e, Evaluation) and e.split == "validation"]
    last = found[-LAST:]
    return sum(e.accuracy_greedy + e.pass_at_8 for e in last) / (2 * len(last))


def known() -> dict[tuple[str, float], float]:
    """The scores that are stored."""
    if not OUT.exists():
        return {}
    stored = json.loads(OUT.read_text())
    return {(name, float(coef)): value for name, row in stored.items() for coef, value in row.items()}


def store(scores: dict[tuple[str, float], float]) -> None:
    """Write the scores, by regime and coefficient."""
    table: dict[str, dict[str, float]] = {}
    for (name, coef), value in sorted(scores.items()):
        table.setdefault(name, {})[str(coef)] = round(value, 4)
    OUT.write_text(json.dumps(table, indent=2) + "\n")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--jobs", type=int, default=1, help="runs at the same time, one thread each")
    scores = known()
    missing = [cell for cell in product(TUNED, BONUSES) if cell not in scores]
    with ProcessPoolExecutor(parser.parse_args().jobs, mp_context=get_context("spawn")) as pool:
        tasks = {pool.submit(score, cell): cell for cell in missing}
        for task in as_completed(tasks):
            scores[tasks[task]] = task.result()
            store(scores)
    print(OUT.read_text())


if __name__ == "__main__":
    main()
