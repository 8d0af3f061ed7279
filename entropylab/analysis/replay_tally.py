"""What one control chooses on a log, update by update, as rows to sum."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..schema import QUADRANTS
from .quadrants import quadrant_codes
from .replay_tokens import Pieces, UpdateTokens, chosen_in_pieces, chosen_of

if TYPE_CHECKING:
    from ..losses.interfaces import SelectingControl

_PIECE_COLUMNS = [
    "responses",
    "updates",
    "n_pieces",
    "chosen",
    "fraction",
    "overlap",
    "extra",
    "covariance_error",
]


@dataclass
class Tally:
    """A control with the micro-batch ``sizes`` it is replayed in; grows by `add`.

    left_out: updates that are not whole; unclipped: those whose log does not say what the ratio clip held.
    """

    name: str
    control: SelectingControl
    sizes: Sequence[int]
    seed: int
    rows: list[dict[str, Any]] = field(default_factory=list)
    parts: dict[int, list[dict[str, float]]] = field(default_factory=dict)
    left_out: int = 0
    unclipped: int = 0

    def add(self, tokens: UpdateTokens | None) -> None:
        """Choose on one more update; None where some of its tokens are not stored."""
        if tokens is None:
            self.left_out += 1
            return
        self.unclipped += tokens.clipped is None
        chosen = chosen_of(self.control, tokens, self.seed)
        self.rows.append(_update_row(tokens, chosen))
        for size in dict.fromkeys(self.sizes):
            if size <= int(tokens.response.max()):
                pieces = chosen_in_pieces(self.control, tokens, size, self.seed)
                self.parts.setdefault(size, []).append(_piece_row(tokens, chosen, pieces))

    def merge(self, other: Tally) -> None:
        """Take in what the same control chooses on later updates."""
        self.rows += other.rows
        for size, rows in other.parts.items():
            self.parts.setdefault(size, []).extend(rows)
        self.left_out += other.left_out
        self.unclipped += other.unclipped

    def updates(self) -> pd.DataFrame:
        """One row an update."""
        updates = pd.DataFrame(self.rows)
        updates["fraction"] = updates["chosen"] / updates["n_tokens"]
        positive = updates["positive_mass"]
        return updates.assign(mass_removed=updates["chosen_mass"] / positive.where(positive > 0))

    def pieces(self) -> pd.DataFrame:
        """One row a micro-batch size."""
        rows = [_pieces_row(size, rows) for size, rows in self.parts.items()]
        return pd.DataFrame(rows, columns=_PIECE_COLUMNS)


def _update_row(tokens: UpdateTokens, chosen: np.ndarray) -> dict[str, Any]:
    positive = np.maximum(tokens.covariance, 0.0)
    l, a = (x - x.mean() for x in (tokens.logprob, tokens.advantage))
    codes = quadrant_codes(l, a)[chosen]
    counts = np.bincount(codes, minlength=len(QUADRANTS))
    return {
        "step": tokens.step,
        "update": tokens.update,
        "n_tokens": tokens.size,
        "chosen": int(chosen.sum()),
        "selected": int(tokens.selected.sum()),
        "both": int((chosen & tokens.selected).sum()),
        "positive_mass": float(positive.sum()),
        "chosen_mass": float(positive[chosen].sum()),
        **{name: int(count) for name, count in zip(QUADRANTS, counts, strict=True)},
    }


def _piece_row(tokens: UpdateTokens, chosen: np.ndarray, pieces: Pieces) -> dict[str, float]:
    spread = tokens.covariance.std()
    error = np.sqrt(np.mean((pieces.covariance - tokens.covariance) ** 2))
    return {
        "n_tokens": tokens.size,
        "n_pieces": len(pieces.means),
        "chosen": int(pieces.chosen.sum()),
        "whole": int(chosen.sum()),
        "both": int((pieces.chosen & chosen).sum()),
        "covariance_error": float(error / spread) if spread > 0 else float("nan"),
    }


def _pieces_row(size: int, rows: list[dict[str, float]]) -> dict[str, float]:
    frame = pd.DataFrame(rows)
    total = frame.sum()
    return {
        "responses": size,
        "updates": len(frame),
        "n_pieces": int(total["n_pieces"]),
        "chosen": int(total["chosen"]),
        "fraction": total["chosen"] / total["n_tokens"],
        "overlap": total["both"] / total["whole"] if total["whole"] else float("nan"),
        "extra": 1.0 - total["both"] / total["chosen"] if total["chosen"] else float("nan"),
        "covariance_error": float(frame["covariance_error"].mean()),
    }
