"""Summaries made of the rows: the recorder's own, to the last bit the same over every engine and cache."""

from __future__ import annotations

import os
import shutil
import threading

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

import entropylab as el
from entropylab.engine.local import Processes
from entropylab.record import exact_rows, recompute, step_source
from entropylab.record.compaction import compact_run
from entropylab.record.step_source import StepSource


def same(left: pd.DataFrame, right: pd.DataFrame) -> None:
    """The same to the last bit."""
    pd.testing.assert_frame_equal(left, right, check_exact=True)


@pytest.mark.quick("True")
@pytest.mark.parametrize("again", [False, True])
def test_the_same_rows_to_the_bit_over_every_engine(recorded, tmp_path, engines, again):
    found = {}
    for name, engine in engines.items():
        ignored = shutil.ignore_patterns("cache")
        copy = el.open_run(shutil.copytree(recorded.path, tmp_path / name, ignore=ignored))
        found[name] = el.summarize_run(copy, engine=engine, recompute=again)
        assert (found[name].computed, found[name].cached, found[name].recorded) == (6, 0, 0)
        known = el.summarize_run(el.open_run(copy.path), engine=engine, recompute=again)
        assert (known.computed, known.cached) == (0, 6)
        same(known.steps, found[name].steps)
        same(known.updates, found[name].updates)
    first, *others = found.values()
    for other in others:
        same(first.steps, other.steps)
        same(first.updates, other.updates)


def test_what_the_rows_give_is_what_the_recorder_wrote(run):
    found = el.summarize_run(run, recompute=True)
    recorded = el.open_run(run.path)
    for by, frame in (("step", found.steps), ("update", found.updates)):
        pd.testing.assert_frame_equal(frame, recorded.steps(by), rtol=1e-12, atol=1e-15)
    assert found.differences.empty
    assert found.errors == {}
    assert "6 steps" in found.summary()


def test_one_rank_of_one_micro_step_gives_the_same_bits(make_run, tmp_path):
    run = make_run(tmp_path / "one", steps=3, prompts=12, group=4, updates=2)
    found = el.summarize_run(run, recompute=True)
    same(found.steps, run.steps())
    same(found.updates, run.steps("update"))


def test_large_steps_in_two_passes_and_pieces_of_whole_responses(run, monkeypatch):
    held = el.summarize_run(run, recompute=True)
    shutil.rmtree(run.path / "cache")
    monkeypatch.setattr(exact_rows, "HELD_TOKENS", 0)
    monkeypatch.setattr(recompute, "CHUNK_TOKENS", 7)
    streamed = el.summarize_run(el.open_run(run.path), recompute=True, workers=1)
    pd.testing.assert_frame_equal(held.steps, streamed.steps, rtol=1e-11, atol=1e-13)
    exact = [c for c in held.steps if c.startswith(("top_mean", "count_", "selected_count"))]
    same(held.steps[exact], streamed.steps[exact])
    same(held.updates[exact], streamed.updates[exact])


def test_a_run_that_grows_adds_only_its_new_steps(recorded, run):
    for kind in ("tokens", "responses", "markers"):
        shutil.rmtree(run.path / kind / "step-000005")
    assert el.summarize_run(el.open_run(run.path)).computed == 5
    for kind in ("tokens", "responses", "markers"):
        shutil.copytree(recorded.path / kind / "step-000005", run.path / kind / "step-000005")
    grown = el.summarize_run(el.open_run(run.path))
    assert (grown.computed, grown.cached) == (1, 5)
    same(grown.steps, el.open_run(recorded.path).steps())


def test_a_changed_record_is_told(run):
    marker = run.path / "markers/step-000002/rank-0001-a1.json"
    text = marker.read_text().partition(',"checksum"')[0] + "}"
    marker.write_text(text.replace('"selected_count":', '"selected_count":1'))
    found = el.summarize_run(el.open_run(run.path), recompute=True)
    assert set(found.differences["step"]) == {2}
    assert {"selected_count", "selected_fraction"} <= set(found.differences["column"])
    assert "not those of the rows" in found.summary()


def test_sampled_steps_stay_as_recorded(make_run, tmp_path):
    sampling = el.TokenSampling(every_steps=2)
    run = make_run(tmp_path / "r", steps=4, prompts=6, group=4, token_sampling=sampling)
    found = el.summarize_run(run, recompute=True)
    assert (found.computed, found.recorded) == (2, 2)
    same(found.steps, run.steps())


@pytest.mark.parametrize("damage", ["missing", "truncated", "fewer rows", "flipped"])
def test_a_damaged_file_is_an_error_of_its_step_alone(run, damage):
    path = run.path / "tokens/step-000003/rank-0001-a1.parquet"
    if damage == "missing":
        path.unlink()
    elif damage == "truncated":
        os.truncate(path, path.stat().st_size // 2)
    elif damage == "flipped":
        content = bytearray(path.read_bytes())
        content[200] ^= 0xFF
        path.write_bytes(content)
    else:
        table = pq.read_table(path)
        pq.write_table(table.slice(1), path)
    found = el.summarize_run(run, recompute=True)
    assert list(found.errors) == [3]
    assert "rank-0001-a1.parquet" in found.errors[3]
    assert (found.computed, found.recorded) == (5, 1)
    row = found.steps.set_index("step").loc[3]
    assert np.isnan(row["top_mean_0.02"]) or damage == "flipped"  # in a column that they do not need
    assert row["n_tokens"] > 0


def test_a_file_replaced_while_it_is_read_is_read_again(run, monkeypatch):
    path = run.path / "tokens/step-000003/rank-0001-a1.parquet"
    whole = el.summarize_run(el.open_run(run.path), recompute=True)
    shutil.rmtree(run.path / "cache")
    content, replaced = path.read_bytes(), threading.Event()
    read = step_source.recompute

    def replace_first(ranks):
        found = read(ranks)
        if ranks[0].marker.step == 3 and not replaced.is_set():
            replaced.set()
            path.with_suffix(".new").write_bytes(content)
            os.utime(path.with_suffix(".new"), ns=(1, 1))
            path.with_suffix(".new").rename(path)
        return found

    monkeypatch.setattr(step_source, "recompute", replace_first)
    found = el.summarize_run(el.open_run(run.path), recompute=True, workers=1)
    assert replaced.is_set()
    assert found.errors == {}
    same(found.steps, whole.steps)


def test_rows_that_are_merged_meanwhile_are_found(run):
    sources = run.step_sources()
    before = [source.recompute()[1] for source in sources]
    compact_run(run.path)
    assert [source.recompute()[1] for source in sources] == before


def test_other_responses_than_the_marker_says_are_an_error(run):
    path = run.path / "responses/step-000001/rank-0000-a1.parquet"
    table = pq.read_table(path)
    lengths = table["length"].to_numpy().copy()
    lengths[-1] += 1
    at = table.schema.get_field_index("length")
    pq.write_table(table.set_column(at, table.field(at), [lengths]), path)
    found = el.summarize_run(run, recompute=True)
    assert "response rows" in found.errors[1]


@pytest.mark.quick("-exact", "{-recomputed", '{"entropylab_format"*')
@pytest.mark.parametrize("kind", ["exact", "recomputed"])
@pytest.mark.parametrize("content", ["", "{", "[]", '{"entropylab_format":1,"value":{}}'])
def test_a_broken_cache_entry_is_made_again(run, kind, content):
    before = el.summarize_run(run, recompute=kind == "recomputed")
    for path in (run.path / "cache").glob(f"{kind}-*.json"):
        path.write_text(content)
    again = el.summarize_run(el.open_run(run.path), recompute=kind == "recomputed")
    assert again.computed == 6
    same(before.steps, again.steps)


def test_a_flipped_number_in_the_cache_is_noticed(run):
    before = el.summarize_run(run, recompute=True)
    path = run.path / "cache/recomputed-000002.json"
    path.write_text(path.read_text().replace('"n_tokens":', '"n_tokens":1'))
    again = el.summarize_run(el.open_run(run.path), recompute=True)
    assert again.computed == 1
    same(before.steps, again.steps)


def test_readers_and_writers_of_one_cache_beside_each_other(run):
    expected = el.summarize_run(el.open_run(run.path), recompute=True).steps
    shutil.rmtree(run.path / "cache")
    found: list[pd.DataFrame] = []

    def read() -> None:
        found.extend(el.summarize_run(el.open_run(run.path), recompute=True).steps for _ in range(2))

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    for frame in found:
        same(frame, expected)


def test_a_read_only_run_is_made_anew_each_time(run, monkeypatch):
    def refuse(*args: object) -> None:
        raise OSError("read-only")

    monkeypatch.setattr("entropylab.record.step_cache.write_json", refuse)
    first = el.summarize_run(el.open_run(run.path))
    second = el.summarize_run(el.open_run(run.path))
    assert (first.computed, second.computed) == (6, 6)
    same(first.steps, second.steps)


def test_progress_goes_to_one(run):
    seen: list[float] = []
    el.summarize_run(run, recompute=True, progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == 1.0


def test_a_source_can_be_sent_and_names_itself(run):
    source = run.step_sources()[2]
    (outcome,) = Processes(1)(StepSource.exact, [source], 1)
    assert outcome.value == source.exact()
    assert str(source) == f"step 2 of {run.path}"
