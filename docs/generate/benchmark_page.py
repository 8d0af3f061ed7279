"""Write docs/reference/benchmarks.md from benchmarks/results/: ``python docs/generate/benchmark_page.py``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmark_tables import TABLES

ROOT = Path(__file__).parents[2]
OUT = ROOT / "docs" / "reference" / "benchmarks.md"
RESULTS = ROOT / "benchmarks" / "results"
INTRODUCTION = """# Benchmarks

Written by `make pages` from [benchmarks/results](../../benchmarks/results/losses.json). Each script \
measures entropylab beside a peer or a floor in the same run, in turn, and keeps what it found with the \
kind of machine and the version of Python. What to read is the ratio within a section: seconds depend on \
the machine, and two sections may come from different ones. The results name the processor's \
architecture only. `make bench` runs them all; a script whose peer or device is missing says so and \
leaves its figures as they are.
"""
NOT_KEPT = """## Without figures

`benchmarks/bench_heads_cuda.py` (losses from hidden states on a GPU) and \
`benchmarks/bench_attach_cuda.py` (attaching to TRL on a GPU) have kept no figures in this repository.
"""
SECTIONS: dict[str, tuple[str, str, str]] = {
    "losses": (
        "Losses on a CPU",
        "Forward and backward of PPO, Clip-Cov and KL-Cov in fp32 on one thread, beside the same losses of "
        "verl 0.9.1, which needs an environment of its own. Below 1: ours takes less.",
        "python benchmarks/bench_losses.py --verl V/bin/python",
    ),
    "cuda": (
        "Losses on a GPU",
        "The same three losses as called from Python, as they are and under `torch.compile`, beside verl "
        "0.9.1. `on the device`: the calls replayed from a CUDA graph, without what the host takes to "
        "launch them; verl waits for the host and cannot be captured. At the small size launching is nearly "
        "all there is, and there verl's Clip-Cov is faster than ours as it is.",
        "python benchmarks/bench_cuda.py",
    ),
    "selection": (
        "Choosing tokens",
        "`select_tokens` over ten million tokens on one thread, beside two floors: one blocked pass for "
        "sums and covariance without checks or mask, and a top-k behind a sampled threshold, exact only "
        "where enough passes. `select_tokens` does more: masks, values that are not finite, sums that are "
        "the same in any order, ties by identity.",
        "python benchmarks/bench_selection.py",
    ),
    "heads": (
        "Losses from hidden states",
        "From hidden states to the gradient of a PPO loss with an entropy bonus, fp32, beside TRL's tiles, "
        "verl and Liger. The floor is the three matrix products that no way can do without. How it works: "
        "[losses from hidden states](../heads.md).",
        "python benchmarks/bench_heads.py --peers peers",
    ),
    "recorder": (
        "Recorder",
        "How long a step holds up the training loop, beside writing the same columns at once with pyarrow, "
        "closed and fsynced, and beside the bare copy of the arrays. Memory: above what was in use before "
        "the first step, on a disk slowed down on purpose, after 3 and after 12 steps.",
        "python benchmarks/bench_recorder.py",
    ),
    "attach": (
        "Attaching to TRL",
        "The share that attaching adds to a real training step of TRL. `own`: time inside entropylab's "
        "methods and its writer thread over that of the trainer. `paired`: CPU time attached over not "
        "attached, less one; on a machine that others use its noise is larger than the figure, which may "
        "lie below 0. The model is small, so the shares are upper bounds. `clip_cov_forward` chooses over "
        "two micro-batches on-policy, which takes one more forward pass.",
        "python benchmarks/bench_attach.py",
    ),
    "scale": (
        "Summaries at 100 million rows and more",
        "Exact summaries of recorded rows beside a floor in plain pyarrow and NumPy, DuckDB and Polars. All "
        "ways and what they take: [large runs](../scale.md).",
        "python benchmarks/bench_scale.py --folder /tmp/scale --billion --dashboard",
    ),
    "listing": (
        "Looking at a run of many steps",
        "A run of one rank as many small files and compacted, in a local folder and on a local S3 server "
        "behind a proxy that counts requests. The latency of a real store comes on top.",
        "python benchmarks/bench_listing.py",
    ),
    "dashboard": (
        "Dashboard",
        "Seconds until a page is drawn in a real browser, beside a bare Streamlit app of six charts.",
        "python benchmarks/bench_dashboard.py",
    ),
    "analysis": (
        "Tails and fit",
        "`analyze_tails` on a million tokens beside one sort of them, and `entropylab fit` as a command on "
        "a run of 2,000 steps beside the start of the interpreter and of pandas.",
        "python benchmarks/bench_analysis.py",
    ),
    "curve": (
        "Interval of the law",
        "The default interval of `fit_curve` beside plain least squares on the same points.",
        "python benchmarks/bench_curve.py",
    ),
    "power_law": (
        "Power laws",
        "The scan for xmin beside the package `powerlaw`, and what both find.",
        "python benchmarks/bench_power_law.py",
    ),
    "influence": (
        "Influence of tokens",
        "What the exact effect of every token on the entropy costs, in training steps (forward and backward "
        "of the loss) of the same batch, both gradients that it needs included.",
        "python benchmarks/bench_influence.py",
    ),
    "imports": (
        "Importing",
        "What an import takes beyond the bare interpreter, beside `import numpy`: the package, the settings "
        "of every method, the command line, and the first `open_run`.",
        "python benchmarks/bench_import.py",
    ),
}
"""Name of a result -> title, what is measured beside what, command."""
FACTS = {
    "machine": "{}",
    "python": "Python {}",
    "device": "{}",
    "cores": "{} cores",
    "torch": "torch {}",
    "trl": "TRL {}",
}
"""What a result says of where it was made."""


def main() -> None:
    """Write the page."""
    OUT.write_text(page(kept()), encoding="utf-8")


def kept() -> dict[str, dict[str, Any]]:
    """Every kept result by its name."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))}


def page(results: dict[str, dict[str, Any]]) -> str:
    """The whole page; a result without a section is an error."""
    missing = set(results) ^ set(SECTIONS)
    if missing:
        raise KeyError(f"results and sections differ by {sorted(missing)}")
    return "\n".join([INTRODUCTION, *(section(name, results[name]) for name in SECTIONS), NOT_KEPT])


def section(name: str, result: dict[str, Any]) -> str:
    """One benchmark: what is measured, the command, the machine, the main figures."""
    title, text, command = SECTIONS[name]
    source = f"[benchmarks/results/{name}.json](../../benchmarks/results/{name}.json)"
    facts = [text.format(result[key]) for key, text in FACTS.items() if key in result]
    head = f"## {title}\n\n{text}\n\n```text\n{command}\n```\n\n{', '.join(facts)}; {source}."
    return f"{head}\n\n{TABLES[name](result)}\n"


if __name__ == "__main__":
    main()
