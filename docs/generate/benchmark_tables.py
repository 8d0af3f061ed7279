"""The main figures of each benchmark as a table of docs/reference/benchmarks.md."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from page_tables import table

Result = dict[str, Any]
LOSSES = {"ppo": "PPO", "clip_cov": "Clip-Cov", "kl_cov": "KL-Cov"}


def losses(result: Result) -> str:
    """Milliseconds and memory of both sides, and their ratio."""
    rows = []
    for size in ("64x4096", "512x4096"):
        found = result[size]
        ms, mib = found["cpu_ms"], found["peak_mib"]
        rows += [
            (
                f"{name}, {size.replace('x', ' × ')}",
                f"{ms[f'own/{key}']:.1f}",
                f"{ms[f'verl/{key}']:.1f}",
                f"{found['ratios'][f'{key}/verl']:.2f}",
                f"{mib[f'own/{key}']:.1f}",
                f"{mib[f'verl/{key}']:.1f}",
            )
            for key, name in LOSSES.items()
        ]
    head = ("loss, tokens", "ours, CPU ms", "verl, CPU ms", "ours over verl", "ours, MiB", "verl, MiB")
    return table(head, rows, right=1)


def cuda(result: Result) -> str:
    """Milliseconds as called, compiled, on the device alone, and of verl."""
    rows = []
    for size in ("64x4096", "4096x8192"):
        ms, over = result[size]["ms"], result[size]["over_verl"]
        rows += [
            (
                f"{name}, {size.replace('x', ' × ')}",
                *(f"{ms[f'{way}/{key}']:.2f}" for way in ("own", "compiled", "graph/compiled", "verl")),
                f"{over[f'own/{key}']:.2f}",
                f"{over[f'compiled/{key}']:.3f}",
            )
            for key, name in LOSSES.items()
        ]
    head = (
        "loss, tokens",
        "as it is, ms",
        "compiled, ms",
        "compiled, on the device",
        "verl, ms",
        "as it is over verl",
        "compiled over verl",
    )
    return table(head, rows, right=1)


def selection(result: Result) -> str:
    """CPU milliseconds of the parts, of the floors and of the whole."""
    rows = [(name, f"{ms:.1f}") for name, ms in result["cpu_ms"].items()]
    rows.append(("select_tokens over both floors", f"{result['select_tokens_over_floors']:.2f}"))
    return table((f"of {result['tokens']:,} tokens, k = {result['k']:,}", "CPU ms"), rows, right=1)


def heads(result: Result) -> str:
    """Time over the floor and memory, the best of ours and the peers."""
    ways = (
        "three products",
        "naive",
        "trl tiles",
        "verl",
        "liger",
        "ours, one pass",
        "ours, one pass, compiled 512",
    )
    rows = [
        (name, f"{result['over_three_products'][name]:.2f}", f"{result['workspace_mib'][name]:.0f}")
        for name in ways
    ]
    shape = result["shape"]
    title = f"way, N = {shape['tokens']}, d = {shape['d']}, V = {shape['V']}"
    return table((title, "CPU time over the floor", "MiB beyond the gradients"), rows, right=1)


def recorder(result: Result) -> str:
    """Milliseconds a step beside the floors; memory."""
    rows = [
        ("recorder, ms of the training loop", f"{result['recorder_ms_wall']:.1f}"),
        ("writing at once, ms", f"{result['synchronous_ms_wall']:.1f}"),
        ("copy of the arrays alone, ms", f"{result['memcpy_ms_wall']:.1f}"),
        ("recorder over writing at once", f"{result['ratio_wall']:.3f}"),
        ("first step, ms (buffers are made)", f"{result['first_step_ms_wall']:.1f}"),
        ("bytes a token on disk", f"{result['bytes_a_token']:.1f}"),
        (
            "peak memory after 3 / 12 steps, MiB",
            "{peak_mib_slow_disk_3_steps:.0f} / {peak_mib_slow_disk_12_steps:.0f}",
        ),
    ]
    rows = [(name, text.format(**result)) for name, text in rows]
    return table((f"a step of {result['tokens_a_step']:,} tokens", "value"), rows, right=1)


def attach(result: Result) -> str:
    """Shares of a step by both ways of counting."""
    rows = []
    for key in ("observing", "clip_cov", "clip_cov_forward"):
        found = result[key]
        low, high = (f"{100 * found[f'paired_share_{end}']:.1f}" for end in ("low", "high"))
        paired = f"{100 * found['paired_share']:.1f} ({low} to {high})"
        rows.append((key, f"{found['plain_step_seconds']:.2f}", f"{100 * found['own_share']:.2f}", paired))
    head = (f"of {result['tokens_a_step']:,} tokens a step", "plain step, s", "own, %", "paired, %")
    return table(head, rows, right=1)


def scale(result: Result) -> str:
    """Seconds and memory of the main ways."""
    names = {"floor": "floor", "duckdb": "DuckDB, fewer figures", "polars": "Polars, fewer figures"}
    names |= {"ours, 1 worker": "ours, this process", "ours, 2 workers": "ours, two processes"}
    names |= {"ours, known": "ours again, from the cache"}
    rows = []
    for size in ("100,000,000 rows", "1,000,000,000 rows"):
        for key, name in names.items():
            if key in result[size]:
                found = result[size][key]
                rows.append((size, name, f"{found['seconds']:.1f}", f"{found['peak_mib']:,}"))
    return table(("rows", "way", "seconds", "MiB"), rows, right=2)


def listing(result: Result) -> str:
    """Seconds and requests of the first look and of later ones."""
    rows = []
    for kind in ("small files", "compacted"):
        for place in ("local", "s3"):
            looks = result[kind][place]
            requests = [sum(look.get("requests", {}).values()) for look in looks.values()]
            rows.append(
                (
                    f"{kind} ({result[kind]['files']:,}), {place}",
                    *(f"{look['seconds']:.2f}" for look in looks.values()),
                    " / ".join(f"{n:,}" for n in requests) if any(requests) else "-",
                )
            )
    head = (f"{result['steps']:,} steps", "first, s", "reopened, s", "again, s", "requests")
    return table(head, rows, right=1)


def dashboard(result: Result) -> str:
    """Seconds a page."""
    names = ("first page", "bare first page", "Overview again", "Curves", "Law", "Compare", "Dynamics")
    rows = [(name, f"{result[name]:.1f}") for name in names]
    rows.append(("memory of the server, MiB", f"{result['server MiB']:.0f}"))
    return table((f"{result['runs']} runs of {result['steps']:,} steps", "seconds"), rows, right=1)


def analysis(result: Result) -> str:
    """Seconds of two commands and their floors."""
    rows = [
        (f"analyze_tails, {result['tokens']:,} tokens", f"{result['analyze_tails_s']:.2f}"),
        ("one sort of the covariances", f"{result['sort_s']:.2f}"),
        ("entropylab fit, first / again", f"{result['fit_first_s']:.2f} / {result['fit_s']:.2f}"),
        ("start of Python with numpy and pandas", f"{result['numpy_pandas_s']:.2f}"),
    ]
    return table(("", "seconds"), rows, right=1)


def curve(result: Result) -> str:
    """Milliseconds of both ways."""
    rows = [("default (grid)", f"{result['grid_ms']:.1f}"), ("least squares", f"{result['ols_ms']:.1f}")]
    rows.append(("ratio", f"{result['ratio']:.2f}"))
    return table((f"{result['points']} points", "CPU ms"), rows, right=1)


def power_law(result: Result) -> str:
    """Seconds of both packages and of larger samples."""
    rows = [
        ("powerlaw, 10,000 values", f"{result['powerlaw_1e4_s']:.3f}"),
        ("ours, 10,000 values", f"{result['own_1e4_s']:.4f}"),
        ("times faster", f"{result['times_faster_1e4']:.0f}"),
        ("ours, 1,000,000 values", f"{result['own_1e+06_s']:.2f}"),
    ]
    rows += [
        (f"{name} of both", " / ".join(f"{value:.4f}" for value in result[f"{name}_of_both"]))
        for name in ("xmin", "alpha")
    ]
    return table(("", "CPU seconds"), rows, right=1)


def influence(result: Result) -> str:
    """Cost by route and size of the model."""
    rows = [
        (f"{found['parameters']:,}", *(f"{cost:.1f}" for cost in found["cost"].values()))
        for found in (result["small"], result["large"])
    ]
    routes = result["small"]["cost"]
    return table((f"parameters, {result['tokens']} tokens", *routes), rows, right=1)


def imports(result: Result) -> str:
    """CPU time and modules of each import."""
    rows = [
        (name, f"{found['cpu_ms']:.0f}", f"{found['ratio_to_numpy']:.2f}", str(found["modules"]))
        for name, found in result.items()
        if isinstance(found, dict)
    ]
    return table(("import", "CPU ms", "over numpy", "modules"), rows, right=3)


TABLES: dict[str, Callable[[Result], str]] = {
    found.__name__: found
    for found in (
        losses,
        cuda,
        selection,
        heads,
        recorder,
        attach,
        scale,
        listing,
        dashboard,
        analysis,
        curve,
        power_law,
        influence,
        imports,
    )
}
"""Name of a result -> its table."""
