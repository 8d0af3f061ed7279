"""The prompts that intervals draw whole: those recorded, and responses where none were."""

from __future__ import annotations

import numpy as np

from ..schema import NO_PROMPT

STAND_IN = (
    "prompts were not recorded, so responses stand in for them: give record(prompt_ids=...); intervals are "
    "too narrow where responses share a prompt"
)


def prompt_units(prompt_ids: np.ndarray, sample_ids: np.ndarray) -> np.ndarray:
    """The prompt of each row of a step, [n]; the id of its response where it has none."""
    return np.where(prompt_ids == NO_PROMPT, sample_ids, prompt_ids)
