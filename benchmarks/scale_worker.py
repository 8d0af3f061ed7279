"""One way to summarize a run, in a process of its own: ``scale_worker.py WAY RUN`` prints the seconds.

The ways ``floor`` and ``bare floor`` are what NumPy takes on the columns of whole files, without checks,
pieces and cache: for the figures of a summary row, and for moments, covariance and top means alone.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

FRACTIONS = (2e-4, 2e-3, 2e-2, 2e-1, 5e-1)
COLUMNS = ["logprob", "old_logprob", "entropy", "advantage", "covariance", "selected", "sample_id"]


def files(run: Path) -> list[Path]:
    return sorted(run.glob("tokens/step-*/*.parquet"))


def columns(path: Path, names: list[str]) -> dict[str, np.ndarray]:
    table = pq.read_table(path, columns=names)
    return {name: table[name].to_numpy() for name in names}


def moments(x: np.ndarray) -> tuple[float, ...]:
    mean = x.mean()
    d = x - mean
    d2 = d * d
    return float(mean), float(d2.mean()), float((d2 * d).mean()), float((d2 * d2).mean())


def tops(x: np.ndarray) -> list[float]:
    first = [x.size - max(1, int(np.ceil(f * x.size))) for f in FRACTIONS]
    x = np.partition(x, sorted(set(first)))
    return [float(x[i:].mean()) for i in first]


def floor(run: Path) -> None:
    """Every figure of a summary row that follows from the rows, in the most direct NumPy."""
    for path in files(run):
        found = columns(path, COLUMNS)
        logprob, old, entropy, advantage, covariance = (found[n].astype(np.float64) for n in COLUMNS[:5])
        log_ratio = logprob - old
        for x in (logprob, old, entropy, advantage, covariance, np.exp(log_ratio), -log_ratio):
            moments(x)
        moments(np.expm1(log_ratio) - log_ratio)
        moments(covariance[found["selected"]])
        tops(covariance)
        _ = covariance[covariance > 0].sum(), covariance[covariance < 0].sum()
        index = 2 * (logprob < logprob.mean()) + (advantage < advantage.mean())
        for i in range(4):
            inside = index == i
            _ = inside.sum(), covariance[inside].sum(), covariance[inside & found["selected"]].sum()
        _, response = np.unique(found["sample_id"], return_inverse=True)
        np.bincount(response, entropy) / np.bincount(response)


def bare_floor(run: Path) -> None:
    """Moments of three columns, Cov(log π, A) and the top means."""
    for path in files(run):
        found = columns(path, ["logprob", "advantage", "covariance"])
        logprob, advantage, covariance = (x.astype(np.float64) for x in found.values())
        for x in (logprob, advantage, covariance):
            moments(x)
        ((logprob - logprob.mean()) * (advantage - advantage.mean())).mean()
        tops(covariance)


DUCKDB = """
with ranked as (
    select step, logprob::double l, advantage::double a, covariance::double c,
           row_number() over (partition by step order by covariance desc) r,
           count(*) over (partition by step) n
    from read_parquet('{}/tokens/**/*.parquet'))
select step, count(*), avg(l), avg(a), avg(c), stddev_pop(c), covar_pop(l, a),
       avg(c) filter (r <= ceil(0.02 * n)), avg(c) filter (r <= ceil(0.002 * n)) from ranked group by step
"""


def duckdb(run: Path) -> None:
    """Moments, covariance and two exact top means by step."""
    import duckdb

    duckdb.sql(DUCKDB.format(run)).fetchall()


def polars(run: Path) -> None:
    """The same."""
    import polars as pl

    l, a, c = (pl.col(name).cast(pl.Float64) for name in ("logprob", "advantage", "covariance"))
    figures = [pl.len(), l.mean().alias("l"), a.mean().alias("a"), c.mean().alias("c")]
    figures += [c.std(ddof=0).alias("s"), pl.cov(l, a, ddof=0).alias("cov")]
    figures += [c.top_k((f * pl.len()).ceil().cast(pl.Int64)).mean().alias(str(f)) for f in (0.02, 0.002)]
    rows = pl.scan_parquet(f"{run}/tokens/**/*.parquet")
    rows.group_by("step").agg(figures).collect(engine="streaming")


def ours(run: Path, **settings: object) -> None:
    import entropylab as el

    found = el.summarize_run(el.open_run(run), recompute=True, **settings)
    assert not found.errors, found.summary()
    assert found.differences.empty, found.summary()


def scan(run: Path, **settings: object) -> None:
    """Exact quantiles and top means over all rows of the run together."""
    import entropylab as el
    from entropylab.engine.tail_scan import scan_tails

    scan_tails(el.open_run(run), **settings)


def ray(run: Path, workers: int) -> None:
    """Ours over Ray; its start is not counted."""
    ours(run, engine=_ray(workers))


def _ray(workers: int) -> object:
    from entropylab.engine.ray_cluster import RayCluster

    return RayCluster(workers=workers)


WAYS: dict[str, Callable[[Path], None]] = {
    "floor": floor,
    "bare floor": bare_floor,
    "duckdb": duckdb,
    "polars": polars,
    "ours, 1 worker": lambda run: ours(run, workers=1),
    "ours, 2 workers": lambda run: ours(run, workers=2),
    "ours, known": lambda run: ours(run, workers=1),
    "scan, 1 worker": lambda run: scan(run, workers=1),
    "ray, 1 worker": lambda run: ray(run, 1),
    "ray, 2 workers": lambda run: ray(run, 2),
}


def main() -> None:
    way, run = sys.argv[1], Path(sys.argv[2])
    if way.startswith("ours"):
        import entropylab.engine.run_summary  # noqa: F401
    if way.startswith("ray"):
        import ray as cluster

        cluster.init(num_cpus=2, log_to_driver=False, include_dashboard=False)
        warm = cluster.remote(lambda: __import__("entropylab.engine.run_summary") and None)
        cluster.get([warm.remote() for _ in range(4)])
    start, before = time.perf_counter(), _cpu()
    WAYS[way](run)
    found = {"seconds": time.perf_counter() - start, "cpu_seconds": _cpu() - before}
    print(json.dumps({name: round(value, 3) for name, value in found.items()}))


def _cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


if __name__ == "__main__":
    main()
