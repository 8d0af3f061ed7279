"""Hypothesis against the files of a run: only EntropylabError, never a silent wrong number."""

from __future__ import annotations

import copy
import json
import random
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from fault_files import COMPACTED, FILES, View
from hypothesis import HealthCheck, Phase, given, settings, strategies as st

import entropylab as el
from entropylab.errors import RunFormatError
from entropylab.record.compaction import compact_run

JSON_FILES = ["run", "marker", "evaluation"]
ALL = {**FILES, **COMPACTED}

numbers = st.one_of(
    st.integers(-5, 5), st.sampled_from([2**15, 2**31, 2**40, 2**63, 2**64, 10**400, -1]), st.floats(width=64)
)
scalars = st.one_of(
    st.none(), st.booleans(), numbers, st.text(max_size=8), st.just("2026-01-01T00:00:00+00:00")
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def folders(make_run) -> Iterator[dict[str, tuple[Path, View]]]:
    with tempfile.TemporaryDirectory(prefix="entropylab-fuzz-") as folder:
        plain, merged = Path(folder) / "plain", Path(folder) / "merged"
        make_run(plain, steps=3, prompts=4, group=2, updates=2)
        shutil.copytree(plain, merged)
        compact_run(merged)
        yield {"plain": (plain, View.of(plain)), "merged": (merged, View.of(merged))}


@pytest.fixture
def examples(request) -> settings:
    """A few fixed examples in the short form, many random ones in the long."""
    long = "faults" in request.config.option.markexpr
    checks = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]
    return settings(
        max_examples=600 if long else 4,
        derandomize=not long,
        phases=[Phase.explicit, Phase.generate, *([Phase.shrink] if long else [])],
        database=None,
        deadline=None,
        print_blob=True,
        suppress_health_check=checks,
    )


def with_content(folders, kind: str, content) -> Iterator[tuple[Path, View]]:
    """The run with another content of one file, put right afterwards."""
    folder, good = folders["merged" if kind in COMPACTED else "plain"]
    path = folder / ALL[kind]
    before = path.read_bytes()
    try:
        path.write_bytes(content(before))
        yield folder, good
    finally:
        path.write_bytes(before)


def places(value: object, path: tuple = ()) -> list[tuple]:
    """The paths of all values inside a JSON value."""
    found = [path] if path else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        found += places(inner, (*path, key))
    return found


def edited(value: dict, draw: random.Random, replacement: object) -> dict:
    """A copy with one value replaced, removed, or added beside."""
    value = copy.deepcopy(value)
    *above, last = draw.choice(places(value))
    target = value
    for key in above:
        target = target[key]
    action = draw.choice(["replace", "replace", "replace", "remove", "add"])
    if action == "remove":
        del target[last]
    elif action == "add" and isinstance(target, dict):
        target[f"{last}_"] = replacement
    else:
        target[last] = replacement
    return value


def dumped(value: object) -> bytes:
    return json.dumps(value).encode(errors="surrogatepass")


def check_told(folders, kind: str, content) -> None:
    for folder, good in with_content(folders, kind, content):
        view = View.of(folder)
        assert view.wrong_numbers(good) == []
        assert view.told() or all(_same(getattr(view, n), getattr(good, n)) for n in vars(good))


def _same(a: object, b: object) -> bool:
    return bool(a.equals(b)) if hasattr(a, "equals") else a == b


@pytest.mark.parametrize("kind", ALL)
def test_random_bytes_in_place_of_a_file(kind, folders, examples):
    @examples
    @given(st.binary(max_size=300))
    def check(data: bytes) -> None:
        check_told(folders, kind, lambda _: data)

    check()


@pytest.mark.parametrize("kind", ALL)
def test_random_bytes_at_a_random_place(kind, folders, examples):
    """A cut, a run of other bytes, or some bytes more."""

    @examples
    @given(st.randoms(use_true_random=False), st.binary(min_size=1, max_size=40))
    def check(draw: random.Random, data: bytes) -> None:
        def content(before: bytes) -> bytes:
            at = draw.randrange(len(before))
            skip = draw.choice([0, len(data), len(before)])
            return before[:at] + data + before[at + skip :]

        check_told(folders, kind, content)

    check()


@pytest.mark.parametrize("kind", JSON_FILES)
def test_an_edited_json_file_is_told(kind, folders, examples):
    """One value replaced, removed or added: the checksum inside does not fit any more."""

    @examples
    @given(st.randoms(use_true_random=False), values)
    def check(draw: random.Random, replacement: object) -> None:
        check_told(folders, kind, lambda before: dumped(edited(json.loads(before), draw, replacement)))

    check()


@pytest.mark.parametrize("kind", JSON_FILES)
def test_json_of_any_shape_without_checksum(kind, folders, examples):
    """What an older or foreign writer may leave: no other exception, whatever the values are."""

    @examples
    @given(st.randoms(use_true_random=False), st.lists(values, min_size=1, max_size=3))
    def check(draw: random.Random, replacements: list) -> None:
        def content(before: bytes) -> bytes:
            value = {k: v for k, v in json.loads(before).items() if k != "checksum"}
            for replacement in replacements:
                value = edited(value, draw, replacement)
            return dumped(value)

        for folder, _ in with_content(folders, kind, content):
            View.of(folder)
            if kind == "run":
                _reopen(folder)

    check()


def _reopen(folder: Path) -> None:
    """A recorder on a damaged `_run.json` refuses or goes on, and never leaves an unreadable one."""
    with tempfile.TemporaryDirectory() as copied:
        shutil.copy(folder / "_run.json", copied)
        try:
            el.Recorder(copied).close()
        except el.EntropylabError:
            return
        assert isinstance(el.open_run(copied).info["attempts"], list)


@pytest.mark.parametrize("kind", JSON_FILES)
@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"a":' * 50_000, "9" * 10_000, '{"entropylab_format": 1e999}', "\ufeff{}"]
)
def test_json_that_breaks_parsers(kind, text, folders):
    check_told(folders, kind, lambda _: text.encode())


def test_a_run_file_of_deep_values_is_refused_by_name(folders):
    deep = '{"entropylab_format": 1, "id": ' + "[" * 100_000 + "]" * 100_000 + "}"
    for folder, _ in with_content(folders, "run", lambda _: deep.encode()):
        with pytest.raises(RunFormatError, match=r"_run\.json"):
            el.open_run(folder)
