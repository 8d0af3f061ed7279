"""``entropylab demo``: collapse, law, tail and both methods on real reinforcement learning, in minutes."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from entropylab.errors import require_extra
from entropylab.plots.style import method_label

from .output import number, say, show_table

if TYPE_CHECKING:
    from entropylab.report.findings import Findings

COLUMNS = ("method", "H start", "H end", "T = 1", "greedy", "pass@8 start", "pass@8 end")
VALUES = ("entropy_start", "entropy_end", "accuracy_end", "accuracy_greedy_end", "pass@8_start", "pass@8_end")
EXAMPLES = (
    "entropylab demo",
    "entropylab demo --out runs/short --steps 20",
)


def command(
    out: Annotated[Path, typer.Option(help="Folder for the runs and the report.")] = Path("runs/demo"),
    steps: Annotated[int, typer.Option(min=1, help="Training steps of each run.")] = 150,
    seed: Annotated[int, typer.Option(min=0, help="Seed of problems, rollouts and evaluations.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Train again what is there.")] = False,
    head: Annotated[
        str, typer.Option(help="The loss from all logits, or from hidden states: logits, fused.")
    ] = "logits",
) -> None:
    """Train a tiny model three ways, compare them, and write a report; about two minutes on two cores."""
    if importlib.util.find_spec("torch") is None:
        raise require_extra("torch", "train", "The demo")
    from entropylab.lab.demo import run_demo
    from entropylab.report.findings import gather

    say(_opening(steps, seed))
    runs = run_demo(out, steps=steps, seed=seed, overwrite=overwrite, head=head)
    findings = gather(runs)
    _tell(findings)
    _write_report(findings, out / "report.html")
    say(f"Next: entropylab dashboard {out}")
    say(f"      entropylab who {out}")


def _opening(steps: int, seed: int) -> str:
    from entropylab.lab.model import build_model, parameter_count

    count = parameter_count(build_model(seed))
    return (
        f"A transformer of {count:,} parameters learns a little Countdown (reach a number from three) by "
        f"imitation, once for all demos in this folder. Then GRPO trains it for {steps} steps, seed {seed}: "
        "as it is, with Clip-Cov, and with KL-Cov. At 150 steps that is about two minutes on two cores."
    )


def _write_report(findings: Findings, path: Path) -> None:
    say()
    if importlib.util.find_spec("matplotlib") is None:
        say(str(require_extra("matplotlib", "app", "The report")))
        return
    from entropylab.report.build import write_report

    say(f"Report: {write_report(findings, path)}", style="bold")


def _tell(findings: Findings) -> None:
    from entropylab.report.story import limits, story

    say()
    comparison = findings.comparison.result
    if comparison is not None:
        table = comparison.methods.set_index(["method", "metric"])["mean"]
        rows = [
            [method_label(method), *(number(table[(method, metric)]) for metric in VALUES)]
            for method in dict.fromkeys(comparison.methods["method"])
        ]
        show_table("Entropy H in nats (last 10 steps), accuracy (last 4 evaluations)", COLUMNS, rows)
        say()
    for sentence in [*story(findings), limits(findings)]:
        say(sentence)
