"""Tokens: from a step to its responses to one response, coloured by what its tokens carry."""

from __future__ import annotations

import guide
import page_style
import pandas as pd
import run_data
import run_picker
import streamlit as st
import token_text
from notices import in_words, say
from run_finder import Entry
from token_text import Scale
from wording import number, share

from entropylab.analysis.responses import QUANTITIES, positive_share, token_aggregates
from entropylab.errors import InsufficientDataError

GATHERED = {"token": "token", "position": "position", "quadrant": "quadrant"}
MOST_ROWS = 500


def page() -> None:
    """Run, step and colour; the responses; one of them; its prompt group."""
    run_box, step_box, color_box = st.columns([2, 2, 1.5], vertical_alignment="bottom")
    with run_box:
        entry = run_picker.focus_run(controlled=True)
    with in_words(entry.name):
        step = _step(entry, step_box)
        quantity = color_box.selectbox("Colour", list(QUANTITIES), key="color", bind="query-params")
        tokens, responses = run_data.step_tokens(entry, step), run_data.responses(entry, step)
        above = st.container()
        with in_words("No colours"):
            scale = Scale(quantity, *run_data.scale(entry, quantity)[:2])
            one_step(entry, tokens, responses, scale, above)
    guide.how_to_read("Tokens")


def one_step(
    entry: Entry,
    tokens: pd.DataFrame,
    responses: pd.DataFrame,
    scale: Scale,
    above: st.delta_generator.DeltaGenerator,
) -> None:
    """The sentence, then the responses beside the tokens gathered, then the chosen response."""
    with above:
        page_style.opening(_sentence(entry, tokens, responses), _also(responses, tokens))
    left, right = st.columns([3, 2], gap="large")
    with right:
        wanted = _gathered(tokens)
    with left:
        shown = _filtered(responses, tokens, wanted)
        row = _table(shown)
    _response(tokens, responses, row, scale)


def _step(entry: Entry, place: st.delta_generator.DeltaGenerator) -> int:
    steps = run_data.all_token_steps(entry)
    if not steps:
        raise InsufficientDataError("no step has token rows: record without token_sampling that drops them")
    if st.session_state.get("step") not in steps:
        asked = st.session_state.pop("step", None)
        if asked is not None:
            say(f"Step {asked} has no token rows: the nearest that has is shown.")
            st.session_state["step"] = min(steps, key=lambda held: abs(held - int(asked)))
    if len(steps) == 1:
        place.caption(f"Step {steps[0]}, the only one with token rows")
        return steps[0]
    return int(place.select_slider("Step", list(steps), key="step", bind="query-params"))


def _sentence(entry: Entry, tokens: pd.DataFrame, responses: pd.DataFrame) -> str:
    step, n = int(tokens["step"].iloc[0]), len(tokens)
    held = positive_share(tokens)
    chosen = int(tokens["selected"].sum())
    acted = f"; {chosen:,} were selected" if chosen else "; none was selected"
    return (
        f"{entry.name}, step {step}: 2 % of the {n:,} {_stored(tokens)}tokens of {len(responses):,} responses hold {share(held)} "
        f"of the positive covariance{acted}."
    )


def _stored(tokens: pd.DataFrame) -> str:
    return "stored " if tokens["sampling_weight"].notna().any() else ""


def _also(responses: pd.DataFrame, tokens: pd.DataFrame) -> str:
    notes = []
    if responses["text"].isna().all() and tokens["token"].isna().all():
        notes.append(
            "No text is recorded, so tokens show as ids: give Recorder(vocabulary=...) or record(texts=...)."
        )
    if tokens["sampling_weight"].notna().any():
        notes.append("The log holds a sample of the tokens: the text has gaps.")
    return " ".join(notes)


def _gathered(tokens: pd.DataFrame) -> pd.Series | None:
    """The tokens of the step gathered; the rows of the one that is chosen, or None."""
    by = st.segmented_control(
        "Gathered by", list(GATHERED), default="token", required=True, key="gather", bind="query-params"
    )
    table = token_aggregates(tokens, by)
    if by == "token":
        table["token"] = [
            "" if text is None or text != text else text.replace("\n", "⏎") for text in table["token"]
        ]
    shown = table.rename(columns={"covariance": "mean covariance", "total": "summed covariance"})
    event = st.dataframe(
        shown.head(MOST_ROWS),
        hide_index=True,
        height=300,
        on_select="rerun",
        selection_mode="single-row",
        key=f"gathered_{by}",
        column_config={
            name: st.column_config.NumberColumn(format="%.4g")
            for name in ("entropy", "mean covariance", "summed covariance")
        },
    )
    rows = event["selection"]["rows"]
    if not rows:
        return None
    column = "token_id" if by == "token" else by
    return tokens[column] == table[column].iloc[rows[0]]


def _filtered(responses: pd.DataFrame, tokens: pd.DataFrame, wanted: pd.Series | None) -> pd.DataFrame:
    """The responses that hold the chosen token, the text that was asked for, and a reward in the range."""
    text_box, reward_box = st.columns(2)
    text = text_box.text_input("Text holds", key="holds", bind="query-params")
    shown = responses
    if wanted is not None:
        held = tokens.loc[wanted, ["update", "sample_id"]].drop_duplicates()
        shown = shown.merge(held, on=["update", "sample_id"])
    if text:
        shown = shown[shown["text"].fillna("").str.contains(text, case=False, regex=False)]
    rewards = responses["reward"].dropna()
    if rewards.nunique() > 1:
        low, high = float(rewards.min()), float(rewards.max())
        first, last = reward_box.slider("Reward", low, high, (low, high), key="reward")
        shown = shown[shown["reward"].between(first, last) | shown["reward"].isna()]
    return shown.sort_values("highest", ascending=False)


def _table(shown: pd.DataFrame) -> pd.Series | None:
    """The responses, the one with the highest covariance first; the chosen row."""
    if shown.empty:
        say("No response is left: change the text, the reward or the chosen token.")
        return None
    columns = [
        "text",
        "reward",
        "advantage",
        "length",
        "entropy",
        "highest",
        "selected",
        "prompt_id",
        "sample_id",
    ]
    columns = [c for c in columns if shown[c].notna().any()]
    table = shown[columns].rename(columns={"highest": "highest covariance"})
    if "text" in table:
        table["text"] = table["text"].str.slice(0, 300)
    event = st.dataframe(
        table.head(MOST_ROWS),
        hide_index=True,
        height=300,
        on_select="rerun",
        selection_mode="single-row",
        key="responses",
        column_config={
            name: st.column_config.NumberColumn(format="%.3g")
            for name in ("advantage", "entropy", "highest covariance", "reward")
        },
    )
    if len(shown) > MOST_ROWS:
        st.caption(f"The first {MOST_ROWS} of {len(shown):,} responses: narrow them down above.")
    rows = event["selection"]["rows"]
    return shown.iloc[rows[0] if rows and rows[0] < len(shown) else 0]


def _response(tokens: pd.DataFrame, responses: pd.DataFrame, row: pd.Series | None, scale: Scale) -> None:
    """The chosen response as coloured text, and the members of its prompt group."""
    if row is None:
        return
    st.html(token_text.SHEET)
    st.markdown("##### The response")
    st.caption(_label(row) + f" · prompt {row['prompt_id']} · sample {row['sample_id']}")
    st.html(token_text.response_html(_of(tokens, row), scale))
    group = responses[(responses["prompt_id"] == row["prompt_id"]) & (responses["update"] == row["update"])]
    if len(group) > 1 and row["prompt_id"] >= 0:
        st.markdown(f"##### The {len(group)} responses to its prompt, by reward")
        members = [
            (_label(one), one["sample_id"] == row["sample_id"], _of(tokens, one))
            for _, one in group.sort_values("reward", ascending=False).head(64).iterrows()
        ]
        st.html(token_text.group_html(members, scale))


def _of(tokens: pd.DataFrame, row: pd.Series) -> pd.DataFrame:
    return tokens[(tokens["sample_id"] == row["sample_id"]) & (tokens["update"] == row["update"])]


def _label(row: pd.Series) -> str:
    reward = "" if pd.isna(row["reward"]) else f"reward {number(float(row['reward']), 2)} · "
    return f"{reward}advantage {number(float(row['advantage']), 2)} · {row['length']} tokens"


page()
