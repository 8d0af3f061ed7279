"""What ``entropylab doctor`` found about one thing."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Check:
    """One thing looked at: what was found, whether it is fine, and how to mend it where it is not."""

    name: str
    found: str
    fine: bool
    mend: str = ""
