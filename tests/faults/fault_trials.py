"""Numbers of trials: a few in the short form, the rest marked for the long one."""

from __future__ import annotations

from collections.abc import Iterable

import pytest


def trials(short: int, long: int) -> list:
    """Parameters 0 .. long - 1 (seeds, shown in each test's name), those from ``short`` on marked."""
    return marked(range(long), short)


def marked(values: Iterable, short: int) -> list:
    """The values as parameters; those after the first ``short`` belong to the long form."""
    marks = pytest.mark.faults
    return [v if i < short else pytest.param(v, marks=marks) for i, v in enumerate(values)]
