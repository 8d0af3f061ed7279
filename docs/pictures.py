"""Draw the pictures of the README from the sample logs: ``python docs/pictures.py``."""

from __future__ import annotations

from pathlib import Path

import entropylab as el
from entropylab.plots.entropy import entropy_figure
from entropylab.plots.figure import save
from entropylab.plots.overview import overview_figure

ROOT = Path(__file__).parent.parent
PICTURES = ROOT / "docs" / "pictures"


def main() -> None:
    """Write every picture."""
    PICTURES.mkdir(exist_ok=True)
    start_a = el.open_runs(ROOT / "sample_logs" / "start-a")
    rare_x = el.open_runs(ROOT / "sample_logs" / "rare-x")
    save(overview_figure(start_a), PICTURES / "overview.svg")
    save(entropy_figure(rare_x), PICTURES / "rare-x.svg")


if __name__ == "__main__":
    main()
