"""The snapshot of a pretrained model: its verifier, its advantages, and its page as of the kept figures."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

STUDY = Path(__file__).parents[2] / "docs" / "study"
sys.path.append(str(STUDY))

import snapshot  # noqa: E402
import snapshot_tables  # noqa: E402
import snapshot_task  # noqa: E402


@pytest.mark.parametrize(
    ("response", "solved"),
    [
        ("The river runs by the garden.", True),
        ("Garden, river!", True),
        ("The gardener swims in the river.", False),
        ("A garden.", False),
        ("", False),
    ],
)
def test_a_response_must_hold_both_words(response: str, solved: bool) -> None:
    assert snapshot_task.Problem(("garden", "river")).is_solved_by(response) is solved


def test_problems_are_different_and_the_same_for_a_seed() -> None:
    problems = snapshot_task.make_problems(64, seed=0)
    assert len(set(problems)) == 64
    assert problems == snapshot_task.make_problems(64, seed=0)
    assert problems != snapshot_task.make_problems(64, seed=1)


def test_advantages_are_those_of_grpo() -> None:
    found = snapshot_task.group_advantages(np.array([[1.0, 0, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0]]))
    # mean 1/4, sample variance (9/16 + 3/16)/3 = 1/4
    np.testing.assert_allclose(found[0], [1.5, -0.5, -0.5, -0.5])
    assert (found[1:] == 0).all()


def test_the_page_shows_the_kept_figures() -> None:
    figures = json.loads(snapshot.FIGURES.read_text(encoding="utf-8"))
    made = snapshot_tables.page(figures)
    assert made == snapshot.TABLE.read_text(encoding="utf-8"), "run python docs/study/snapshot.py --table"
