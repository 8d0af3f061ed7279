"""Influence: how well do the covariance and other proxies rank tokens by their exact effect on the entropy?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import guide
import influence_charts
import numpy as np
import page_style
import pandas as pd
import run_data
import run_picker
import streamlit as st
from chart_look import draw
from influence_charts import FIGURES, GROUPS, NUMBERS, Series
from notices import escaped, in_words
from run_finder import Entry
from run_picker import Picked
from selection_charts import token_label
from wording import interval_text, number, percent, share

from entropylab.analysis.proxy_audit import CAUTION, COVARIANCE, EXPERIMENT, FRACTION, ProxyAudit
from entropylab.analysis.proxy_tables import LEAST

FRACTIONS = (0.01, 0.02, 0.05, 0.1)
MOST_RUNS = 7
MOST_TOKENS = 50
ENDS = {"lower H most": True, "raise H most": False}
HELP = {
    "spearman": "Spearman's correlation with the exact influence, over the tokens of an update",
    "overlap": "Share of the tokens that lower H most which the quantity chooses too",
    "capture": "Effect on H of the tokens it chooses, over that of as many that lower H most",
    "raises": "Share of the tokens it chooses whose effect is to raise H",
    "saved": "Share of all lowering effect that leaving the chosen tokens out saves, to first order",
}
LACKING = {
    "quadrant": f"none has {LEAST} tokens in an update",
    "entropy": f"not recorded (pass entropy=... to recorder.record), or fewer than {LEAST} tokens in each",
}
RECORDING = "el.Recorder(..., influence_every=20)"
CODE = f"""recorder = {RECORDING}
influence = el.token_influence(...) if recorder.wants_influence(step) else None  # before the optimizer's step
recorder.record(step, ..., influence=influence)"""


def page() -> None:
    """One run's audit, the others that hold influence beside it, and its strongest tokens."""
    chosen = run_picker.chosen_runs()
    held = replace(chosen, entries=_holding(chosen))
    if held.entries:
        run_box, figure_box, fraction_box = st.columns([2, 2, 1.4], vertical_alignment="bottom")
        with run_box:
            entry = run_picker.focus_run(controlled=True, among=held)
        fraction = fraction_box.selectbox(
            "Tokens chosen",
            FRACTIONS,
            index=FRACTIONS.index(FRACTION),
            key="chosen_share",
            format_func=lambda part: f"{share(part)} of each update",
            bind="query-params",
        )
        figure = figure_box.selectbox(
            "Figure by step and group",
            list(FIGURES),
            key="audit_figure",
            format_func=FIGURES.get,
            bind="query-params",
        )
        with in_words(entry.name):
            one_run(entry, held, figure, fraction)
        _without(chosen, held)
    else:
        nothing(chosen)
    guide.how_to_read("Influence")


def nothing(chosen: Picked) -> None:
    """How to record what this page needs."""
    page_style.opening(
        f"{_counted(len(chosen.entries))} no influence of tokens: record it every few steps to see here how well the "
        "covariance ranks them.",
        "The influence of a token is its exact first-order effect on the policy's entropy, in nats. It takes about "
        "four training steps of time for each step that records it.",
    )
    st.code(CODE, language="python")
    st.caption(
        "With TRL: `el.attach(..., influence_every=20)`; in the lab: `LabSettings(influence_every=20)`. All of it: "
        "docs/influence.md."
    )


def one_run(entry: Entry, held: Picked, figure: str, fraction: float) -> None:
    """Sentence and caution, the figures of every quantity, then over the steps, by group, the tokens."""
    audit = run_data.audit(entry, fraction)
    counted, covariance, *rest = audit.summary().splitlines()
    told = [line for line in rest if line != CAUTION and not line.startswith("warning")]
    page_style.opening(f"{entry.name}: {covariance}", " ".join([*told, counted]))
    answer, _, why = CAUTION.partition(": ")
    page_style.cards([("To be held by a control?", answer, f"{why[:1].upper()}{why[1:]} {EXPERIMENT}")])
    page_style.warn(audit.warnings)
    audits = _audits(entry, audit, held, fraction)
    st.markdown("##### What each quantity chooses")
    _table(held, audits)
    series = [Series(held.label(e), run_picker.style_of(e), found.proxies) for e, found in audits.items()]
    for place, name in zip(st.columns(2, gap="large"), ("capture", "saved"), strict=True):
        draw(influence_charts.proxies_figure(series, name), f"influence_{name}", place, data=_joined(series))
    _course(entry, held, audits, figure)
    _groups(entry, audit, figure)
    _tokens(entry, audit)


def _counted(count: int) -> str:
    return "The chosen run holds" if count == 1 else f"The {count} chosen runs hold"


def _holding(chosen: Picked) -> tuple[Entry, ...]:
    """The chosen runs with influence; one that cannot be read says why."""
    held = []
    for entry in chosen.entries:
        with in_words(entry.name):
            if run_data.influence_steps(entry):
                held.append(entry)
    return tuple(held)


def _without(chosen: Picked, held: Picked) -> None:
    lacking = [chosen.label(entry) for entry in chosen.entries if entry not in held.entries]
    if lacking:
        st.caption(f"Without influence, so not shown: {escaped(', '.join(lacking))}. It takes `{RECORDING}`.")


def _audits(entry: Entry, audit: ProxyAudit, held: Picked, fraction: float) -> dict[Entry, ProxyAudit]:
    """The audit of the run in focus and those of the others, as many as are drawn."""
    audits = {entry: audit}
    others = [other for other in held.entries if other != entry]
    for other in others[: MOST_RUNS - 1]:
        with in_words(other.name):
            audits[other] = run_data.audit(other, fraction)
    if len(others) >= MOST_RUNS:
        st.caption(f"The first {MOST_RUNS} of {len(held.entries)} runs: tick fewer in the sidebar to choose.")
    return audits


def _table(held: Picked, audits: dict[Entry, ProxyAudit]) -> None:
    """A row a quantity (and run), a column a figure with its interval."""
    rows = [
        {"run": held.label(entry), "ranked by": row["proxy"]} | {name: _cell(row, name) for name in HELP}
        for entry, audit in audits.items()
        for _, row in audit.proxies.iterrows()
    ]
    table = pd.DataFrame(rows).drop(columns=[] if len(audits) > 1 else ["run"])
    columns = {name: st.column_config.TextColumn(FIGURES[name], help=told) for name, told in HELP.items()}
    st.dataframe(table, hide_index=True, column_config=columns, placeholder="–")
    level = next(iter(audits.values())).level
    st.caption(f"Means over the updates; in brackets {percent(level)} intervals over prompts (jackknife).")


def _cell(row: pd.Series, name: str) -> str | None:
    """A figure with its interval; None where it has no meaning."""
    value, low, high = (float(row[key]) for key in (name, f"{name}_low", f"{name}_high"))
    if not np.isfinite(value):
        return None
    if not np.isfinite(low):
        return number(value, 2) if name in NUMBERS else share(value)
    if name in NUMBERS:
        return f"{number(value, 2)} ({interval_text((low, high), 2)})"
    return f"{100 * value:.0f} % ({100 * low:.0f} to {100 * high:.0f})"


def _course(entry: Entry, held: Picked, audits: dict[Entry, ProxyAudit], figure: str) -> None:
    """Over the training: every quantity of one run, or one quantity of several."""
    st.markdown("##### Over the training")
    if len(audits) == 1:
        title, series = FIGURES[figure], _by_proxy(entry, audits[entry], audits[entry].by_step)
    else:
        proxy = _quantity(audits, figure)
        title, series = f"{FIGURES[figure]}: {proxy}", _of_runs(held, audits, proxy)
    drawn = [one for one in series if one.rows[figure].notna().any()]
    chart = influence_charts.course_figure(drawn, figure, title)
    draw(chart, "influence_course", data=_joined(series))


def _quantity(audits: dict[Entry, ProxyAudit], figure: str) -> str:
    """The one quantity that is drawn of several runs, of those that have the figure."""
    tables = [audit.by_step for audit in audits.values()]
    held = list(dict.fromkeys(name for rows in tables for name in rows.loc[rows[figure].notna(), "proxy"]))
    if st.session_state.get("ranked_by") not in held:
        st.session_state.pop("ranked_by", None)
    place = st.columns([2, 3])[0]
    return place.selectbox("Ranked by", held or [COVARIANCE], key="ranked_by", bind="query-params")


def _of_runs(held: Picked, audits: dict[Entry, ProxyAudit], proxy: str) -> list[Series]:
    tables = {entry: audit.by_step[audit.by_step["proxy"] == proxy] for entry, audit in audits.items()}
    return [Series(held.label(e), run_picker.style_of(e), rows) for e, rows in tables.items() if len(rows)]


def _by_proxy(entry: Entry, audit: ProxyAudit, table: pd.DataFrame) -> list[Series]:
    return influence_charts.by_proxy(audit, table, run_picker.style_of(entry))


def _groups(entry: Entry, audit: ProxyAudit, figure: str) -> None:
    """By quadrant, and by entropy where it is recorded."""
    st.markdown(f"##### Which tokens of {escaped(entry.name)} they rank well")
    for place, by in zip(st.columns(2, gap="large"), GROUPS, strict=True):
        rows = audit.groups[audit.groups["by"] == by]
        if len(rows):
            series = _by_proxy(entry, audit, rows)
            draw(influence_charts.groups_figure(series, figure, by), f"influence_{by}", place, data=rows)
        else:
            place.caption(f"{GROUPS[by]}: {LACKING[by]}.")


def _joined(series: Sequence[Series]) -> pd.DataFrame:
    """The rows of all series, for the download."""
    return pd.concat([one.rows.assign(series=one.label) for one in series], ignore_index=True)


def _tokens(entry: Entry, audit: ProxyAudit) -> None:
    """The tokens of a step with the strongest effect, and a way to their responses."""
    st.markdown(f"##### The strongest tokens of {escaped(entry.name)}")
    step_box, end_box, _ = st.columns([2, 2, 2], vertical_alignment="bottom")
    step = _step(audit.steps, step_box)
    end = end_box.segmented_control(
        "Those that",
        list(ENDS),
        default=next(iter(ENDS)),
        required=True,
        key="influence_end",
        bind="query-params",
    )
    tokens = run_data.step_tokens(entry, step)
    st.dataframe(_strongest(tokens, lowering=ENDS[end]), hide_index=True, column_config=_COLUMNS, height=320)
    st.caption(
        f"Of {len(tokens):,} stored tokens of step {step}. Influence in nats: what the token does to the mean entropy in "
        "the coming optimizer step, to first order."
    )
    label = f"Open the responses of step {step}, coloured by influence"
    run_picker.tokens_link(st, label, step=f"{step}", color="influence", run=entry.slug)


def _step(steps: Sequence[int], place: st.delta_generator.DeltaGenerator) -> int:
    if st.session_state.get("influence_step") not in steps:
        st.session_state.pop("influence_step", None)
    if len(steps) == 1:
        place.caption(f"Step {steps[0]}, the only one with influence")
        return steps[0]
    return int(place.select_slider("Step", list(steps), key="influence_step", bind="query-params"))


def _strongest(tokens: pd.DataFrame, *, lowering: bool) -> pd.DataFrame:
    """The tokens at one end of the influence, the strongest first, with their place by covariance."""
    ranked = tokens.assign(place=tokens["covariance"].rank(ascending=False, method="first"))
    rows = ranked.dropna(subset=["influence"]).sort_values("influence", ascending=lowering).head(MOST_TOKENS)
    ids = rows["token_id"].astype(float)
    return pd.DataFrame(
        {
            "token": [_named(token, i) for token, i in zip(rows["token"], ids, strict=True)],
            "id": ids,
            "influence": rows["influence"].astype(float),
            "covariance": rows["covariance"].astype(float),
            "by covariance": rows["place"],
            "probability": np.exp(rows["logprob"].astype(float)),
            "advantage": rows["advantage"].astype(float),
            "selected": rows["selected"],
            "position": rows["position"],
            "response": rows["sample_id"],
        }
    )


def _named(token: str | None, token_id: float) -> str:
    return (
        "not recorded" if token is None and not np.isfinite(token_id) else token_label(token, int(token_id))
    )


_NUMBER = st.column_config.NumberColumn
_COLUMNS = {
    "id": _NUMBER(format="%d"),
    "influence": _NUMBER("influence, nats", format="%.2e"),
    "covariance": _NUMBER(format="%.3f", help="nats × advantage"),
    "by covariance": _NUMBER(
        format="%d", help="Place of the token by covariance in the step: 1 is the highest"
    ),
    "probability": _NUMBER(format="%.3g"),
    "advantage": _NUMBER(format="%.2f"),
    "response": _NUMBER(format="%d", help="sample_id of the response"),
}


page()
