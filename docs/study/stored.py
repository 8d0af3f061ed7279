"""The committed results of the study: which there are, and how new ones are added."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

RESULTS = Path(__file__).parent / "results"
SCORES, CURVES, STARTS_FILE, TIMES = (
    RESULTS / f"{name}.parquet" for name in ("scores", "curves", "starts", "times")
)
RUN = ["regime", "warm_up", "seed", "arm"]
"""The columns that name a run."""


def stored_runs() -> set[tuple[str, int, int, str]]:
    """Regime, warm-up, seed and arm of every run whose scores are stored."""
    if not SCORES.exists():
        return set()
    return set(pd.read_parquet(SCORES, columns=RUN).drop_duplicates().itertuples(index=False, name=None))


def add(new: pd.DataFrame, path: Path, key: list[str]) -> None:
    """Add rows to a stored table; rows of the same key are replaced."""
    if path.exists():
        old = pd.read_parquet(path)
        known = set(new[key].itertuples(index=False, name=None))
        new = pd.concat([old[[row not in known for row in old[key].itertuples(index=False, name=None)]], new])
    path.parent.mkdir(exist_ok=True)
    new.sort_values(key, kind="stable").reset_index(drop=True).to_parquet(
        path, index=False, compression="zstd"
    )
