"""``entropylab audit``: how well the covariance ranks tokens by their exact effect on the entropy."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from .outcomes import analyse, finish
from .output import number
from .sources import Json, Paths, Steps, load_runs, steps_of

if TYPE_CHECKING:
    from entropylab.analysis.proxy_audit import ProxyAudit
    from entropylab.record.reader import Run

COLUMNS = ("updates", "tokens", "rank corr.", "capture", "raising", "control")
TITLE = "The covariance beside the exact effect of each token on the entropy, and what the control chose"
EXAMPLES = ("entropylab audit runs/influence",)


def command(
    paths: Paths,
    steps: Steps = None,
    fraction: Annotated[float, typer.Option(help="Of the tokens, that a quantity chooses.")] = 0.02,
    json: Json = False,
) -> None:
    """Audit the covariance and other proxies on a run that recorded the influence of its tokens."""
    outcomes = analyse(load_runs(paths), partial(_analysis, steps, fraction))
    finish("audit", outcomes, json=json, title=TITLE, columns=COLUMNS, row=_row)


def _analysis(steps: str | None, fraction: float, run: Run) -> ProxyAudit:
    from entropylab.analysis.proxy_audit import audit_proxies

    return audit_proxies(run, steps=steps_of(run, steps), fraction=fraction)


def _row(result: ProxyAudit) -> list[str]:
    from entropylab.analysis.proxy_audit import CONTROL, COVARIANCE

    rows = result.proxies.set_index("proxy")
    values = [rows.loc[COVARIANCE, name] for name in ("spearman", "capture", "raises")]
    control = rows["capture"].get(CONTROL)
    counts = [f"{result.n_sets:,}", f"{result.n_tokens:,}"]
    return [*counts, *(number(value, 2) for value in (*values, control))]
