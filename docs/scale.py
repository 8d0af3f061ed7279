"""Write docs/scale.md from benchmarks/results/scale.json: ``python docs/scale.py``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
OUT = ROOT / "docs" / "scale.md"
TEMPLATE = ROOT / "docs" / "scale.template.md"
RESULTS = ROOT / "benchmarks" / "results" / "scale.json"

TOKENS_PER_STEP, STEPS, WORKERS, RANKS = 8_000_000, 2_400, 32, 64
READ_RATE = 100e6
"""Bytes a second that a worker is taken to read from an object store."""
CORE_HOUR = 0.05
"""Dollars of a core for an hour that the model takes."""
REQUESTS = 0.4e-6
"""Dollars of one request to an object store that the model takes."""
REQUESTS_PER_FILE = 6
"""Footer, stamp, and ranges of columns."""

TOLD = {
    "bare floor": "floor for moments, covariance and top means alone",
    "floor": "floor",
    "duckdb": "DuckDB, moments, covariance and two top means",
    "polars": "Polars streaming, the same",
    "ours, 1 worker": "`summarize --recompute`, this process",
    "ours, 2 workers": "`summarize --recompute`, two processes",
    "ours, known": "`summarize --recompute` again, from the cache",
    "scan, 1 worker": "`tails --scan`, this process",
    "ray, 1 worker": "`summarize --recompute --engine ray`, 1 worker",
    "ray, 2 workers": "`summarize --recompute --engine ray`, 2 workers",
}


def main() -> None:
    """Write the page."""
    OUT.write_text(page(json.loads(RESULTS.read_text())), encoding="utf-8")


def page(results: dict[str, Any]) -> str:
    """The page with the figures of a benchmark."""
    sizes = {name: found for name, found in results.items() if " rows" in name}
    first = next(iter(sizes.values()))
    lines = ["| rows | way | seconds | CPU seconds | MiB |", "| ---: | --- | ---: | ---: | ---: |"]
    for size, found in sizes.items():
        for way, figures in found.items():
            if isinstance(figures, dict):
                lines.append(_line(size.replace(" rows", ""), way, figures))
    return TEMPLATE.read_text(encoding="utf-8").format(
        table="\n".join(lines),
        ratios=_ratios(results["ratios"]) + _dashboard(results.get("dashboard")),
        model=_model(first, int(next(iter(sizes)).removesuffix(" rows").replace(",", ""))),
        bytes_per_row=first["bytes_per_row"],
        machine=results["machine"],
        cores=results["cores"],
    )


def _line(size: str, way: str, figures: dict[str, float]) -> str:
    cpu = "-" if way.startswith("ray") else f"{figures['cpu_seconds']:.1f}"
    return f"| {size} | {TOLD[way]} | {figures['seconds']:.1f} | {cpu} | {figures['peak_mib']:,.0f} |"


def _ratios(ratios: dict[str, float]) -> str:
    return "\n".join(f"* {name}: {value:.2f}" for name, value in ratios.items())


def _dashboard(found: dict[str, float] | None) -> str:
    """What opening the dashboard on the first run takes."""
    if found is None:
        return ""
    seconds = ", ".join(f"{name} {value:.1f}" for name, value in found.items())
    return f"\n* the dashboard's first page, seconds: {seconds}"


def _model(found: dict[str, Any], rows: int) -> str:
    tokens = TOKENS_PER_STEP * STEPS
    core_seconds = found["ours, 1 worker"]["cpu_seconds"] / rows
    size = found["bytes_per_row"] * tokens
    computing = core_seconds * tokens / WORKERS
    reading = size / READ_RATE / WORKERS
    requests = 2 * STEPS * RANKS * REQUESTS_PER_FILE
    hours = (computing + reading) / 3600
    dollars = hours * WORKERS * CORE_HOUR + requests * REQUESTS
    lines = [
        "| | value | from |",
        "| --- | ---: | --- |",
        f"| rows | {tokens:,} | {TOKENS_PER_STEP:,} x {STEPS:,} |",
        f"| bytes a row | {found['bytes_per_row']:.1f} | measured |",
        f"| bytes | {size / 1e9:,.0f} GB | extrapolated |",
        f"| core seconds a million rows | {1e6 * core_seconds:.2f} | measured |",
        f"| computing, {WORKERS} workers | {computing:,.0f} s | extrapolated, evenly spread |",
        f"| reading at {READ_RATE / 1e6:.0f} MB/s a worker | {reading:,.0f} s | taken, not measured |",
        f"| requests, {RANKS} ranks | {requests:,} | {REQUESTS_PER_FILE} a file, taken |",
        f"| dollars | {dollars:.2f} | {CORE_HOUR} a core hour, {1e6 * REQUESTS:.1f} a million requests |",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
