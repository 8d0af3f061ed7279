"""Mistakes that a type checker must find: were a name Any, its ignore would be unused, which is an error."""

from __future__ import annotations

import entropylab as el

fit: int = el.fit_curve([1.0], [0.1])  # type: ignore[assignment]
comparison: int = el.compare_runs([])  # type: ignore[assignment]
el.ClipCov(fracton=0.1)  # type: ignore[call-arg]
el.open_run("runs/mine").stps()  # type: ignore[attr-defined]
el.Recorder("runs/mine", methd="grpo")  # type: ignore[call-arg]
el.polcy_loss()  # type: ignore[attr-defined]
