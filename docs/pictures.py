"""Draw the pictures of the README and the docs from the sample logs: ``python docs/pictures.py``."""

from __future__ import annotations

from pathlib import Path

from form_figure import form_figure

import entropylab as el
from entropylab.analysis.curve_data import fit_run
from entropylab.analysis.tail_data import tail_inputs
from entropylab.plots.attribution import attribution_figure
from entropylab.plots.curve import draw_curve
from entropylab.plots.dynamics import draw_dynamics
from entropylab.plots.entropy import entropy_figure
from entropylab.plots.figure import draw, save
from entropylab.plots.overview import overview_figure
from entropylab.plots.tails import tails_figure

ROOT = Path(__file__).parent.parent
PICTURES = ROOT / "docs" / "pictures"


def main() -> None:
    """Write every picture."""
    PICTURES.mkdir(exist_ok=True)
    start_a = el.open_runs(ROOT / "sample_logs" / "start-a")
    rare_x = el.open_runs(ROOT / "sample_logs" / "rare-x")
    save(overview_figure(start_a), PICTURES / "overview.svg")
    save(entropy_figure(rare_x), PICTURES / "rare-x.svg")
    save(entropy_figure(start_a), PICTURES / "collapse.svg")
    baseline = el.open_run(ROOT / "sample_logs" / "start-a" / "baseline-s0")
    save(draw(draw_curve, fit_run(baseline), width=4.6, height=3.0), PICTURES / "law.svg")
    save(tails_figure(el.analyze_tails(**tail_inputs(baseline))), PICTURES / "tails.svg")
    save(attribution_figure(el.attribute(baseline)), PICTURES / "who.svg")
    save(draw(draw_dynamics, el.entropy_dynamics(baseline), width=4.0, height=2.8), PICTURES / "dynamics.svg")
    save(form_figure(baseline), PICTURES / "forms.svg")


if __name__ == "__main__":
    main()
