"""What the figures take of matplotlib; where it is not installed, the error names the extra."""

from __future__ import annotations

from ..errors import require_extra

try:
    import matplotlib
    from cycler import cycler
    from matplotlib.colors import LinearSegmentedColormap, to_rgb
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine
    from matplotlib.ticker import FuncFormatter, MaxNLocator
except ImportError as error:
    raise require_extra("matplotlib", "app", "Drawing a figure") from error

__all__ = [
    "ConstrainedLayoutEngine",
    "Figure",
    "FuncFormatter",
    "LinearSegmentedColormap",
    "MaxNLocator",
    "cycler",
    "matplotlib",
    "to_rgb",
]
