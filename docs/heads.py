"""Write docs/heads.md and its picture from benchmarks/results/heads.json: ``python docs/heads.py``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from entropylab.plots.figure import WIDE, look, new_figure, save
from entropylab.plots.style import NEUTRAL, ORANGE

ROOT = Path(__file__).parent.parent
OUT = ROOT / "docs" / "heads.md"
TEMPLATE = ROOT / "docs" / "heads.template.md"
PICTURE = ROOT / "docs" / "pictures" / "heads.svg"
RESULTS = ROOT / "benchmarks" / "results" / "heads.json"

OPERATIONS = {
    "three products": 6,
    "naive": 6,
    "checkpoint 512": 8,
    "trl tiles": 8,
    "verl": 8,
    "liger": 8,
    "ours, one pass": 6,
    "ours, one pass 512": 6,
    "ours, one pass, Clip-Cov": 6,
    "ours, one pass, KL-Cov": 6,
    "ours, one pass, compiled": 6,
    "ours, one pass, compiled 512": 6,
    "ours, one pass, compiled 768": 6,
    "ours, op, made again": 8,
    "ours, op, kept": 6,
}
"""Operations of the matrix products in N·d·V, by the name of a way in the benchmark."""


def main() -> None:
    """Write the page and its picture."""
    results = json.loads(RESULTS.read_text())
    OUT.write_text(page(results), encoding="utf-8")
    save(figure(results), PICTURE)


def page(results: dict[str, Any]) -> str:
    """The page with the figures of a benchmark."""
    shape = results["shape"]
    chunk = max(128, (1 << 25) // (4 * shape["V"]))
    rows = [
        f"| {name} | {OPERATIONS[name]} | {results['cpu_seconds'][name]:.2f} | {ratio:.2f} | "
        f"{results['workspace_mib'][name]:.0f} |"
        for name, ratio in results["over_three_products"].items()
    ]
    head = "| way | products, NdV | CPU seconds | over the floor | MiB beyond the gradients |"
    table = "\n".join([head, "| --- | ---: | ---: | ---: | ---: |", *rows])
    buffer = 4 * chunk * shape["V"] / (1 << 20)
    text = TEMPLATE.read_text(encoding="utf-8")
    return text.format(**shape, chunk=chunk, buffer=buffer, machine=results["machine"], table=table)


def figure(results: dict[str, Any]) -> Figure:
    """Time over the floor beside what the operations alone would take, and memory beyond the gradients."""
    names = list(results["over_three_products"])[::-1]
    places = range(len(names))
    colors = [ORANGE if name.startswith("ours") else NEUTRAL for name in names]
    drawing, (left, right) = new_figure(WIDE, 2.9, ncols=2, sharey=True)
    with look():
        left.barh(places, [results["over_three_products"][name] for name in names], color=colors, height=0.6)
        left.plot([OPERATIONS[name] / 6 for name in names], places, "|", color="black", markersize=9)
        left.set_yticks(places, names)
        left.set(xlabel="CPU time over the three products; bar: by operations alone")
        right.barh(places, [results["workspace_mib"][name] for name in names], color=colors, height=0.6)
        right.set(xlabel="MiB beyond the gradients")
    return drawing


if __name__ == "__main__":
    main()
