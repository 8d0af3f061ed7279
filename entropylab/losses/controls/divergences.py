"""Names of the divergences that the controls know."""

from __future__ import annotations

SAMPLED = ("abs_logratio", "k1", "k2", "k3")
"""Estimators on the sampled token."""

FULL = ("reverse_kl", "forward_kl")
"""Over the full vocabulary: D(π ‖ π_ref) and D(π_ref ‖ π)."""
