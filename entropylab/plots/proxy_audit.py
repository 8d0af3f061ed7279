"""How much of the best choice each cheap quantity captures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .figure import INK, look, new_figure
from .style import NEUTRAL, ORANGE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from entropylab.analysis.proxy_audit import ProxyAudit


def draw_audit(result: ProxyAudit, ax: Axes | None = None) -> Axes:
    """Capture of each quantity with its interval, the best first; covariance and control stand out."""
    with look():
        if ax is None:
            _, ax = new_figure()
        rows = result.proxies.sort_values("capture", kind="stable")
        places = np.arange(len(rows))
        marked = rows["proxy"].isin(["covariance", "chosen by the control"])
        low, high = rows["capture"] - rows["capture_low"], rows["capture_high"] - rows["capture"]
        errors = np.nan_to_num(np.array([low, high]))
        ax.barh(places, rows["capture"], color=np.where(marked, ORANGE, NEUTRAL), height=0.6)
        ax.errorbar(rows["capture"], places, xerr=errors, fmt="none", ecolor=INK, linewidth=0.8)
        ax.set_yticks(places, rows["proxy"])
        ax.set(xlabel=f"effect of the chosen {100 * result.fraction:g} %,\nover that of the best choice")
        ax.axvline(1.0, color=NEUTRAL, linewidth=0.8)
    return ax
