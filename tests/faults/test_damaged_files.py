"""Each kind of file of a run cut, emptied, replaced or flipped: named, and never a wrong number."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest
from fault_files import COMPACTED, DAMAGES, FILES, View, doubled, flip, regions
from fault_trials import marked

import entropylab as el
from entropylab.record.compaction import compact_run

ALL = {**FILES, **COMPACTED}
SHORT, LONG = 2, 400
"""Flips in each region of each file, drawn without replacement."""


@pytest.fixture(scope="module")
def originals(make_run, tmp_path_factory):
    """The same run as small files and compacted, one rank; two ranks where the marker does not tell all."""
    folder = tmp_path_factory.mktemp("damage")
    make_run(folder / "plain", steps=3, prompts=4, group=2, updates=2)
    shutil.copytree(folder / "plain", folder / "merged")
    compact_run(folder / "merged")
    return {name: (folder / name, View.of(folder / name)) for name in ("plain", "merged")}


@pytest.fixture
def damaged(originals, fast):
    """A copy of the run that holds a kind of file: (its folder, the file, the view of the whole run)."""

    def copy(kind: str) -> tuple[Path, Path, View]:
        original, good = originals["merged" if kind in COMPACTED else "plain"]
        shutil.copytree(original, fast / "r")
        return fast / "r", fast / "r" / ALL[kind], good

    return copy


def check_view(path: Path, good: View, name: str) -> View:
    view = View.of(path)
    assert view.wrong_numbers(good) == [], name
    return view


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda d: d.__name__)
@pytest.mark.parametrize("kind", ALL)
def test_a_damaged_file_is_named(kind, damage, damaged, outcome):
    folder, path, good = damaged(kind)
    damage(path)
    view = check_view(folder, good, damage.__name__)
    named = any(ALL[kind] in text for problem in view.problems for text in problem)
    assert named or (damage is doubled and path.suffix == ".parquet"), view.problems
    if kind == "run":
        with pytest.raises(el.EntropylabError, match=r"_run\.json"):
            el.Recorder(folder)
    outcome(f"{damage.__name__}: {kind}", sees="named in problems(); reading its rows: RunFormatError")


@pytest.mark.parametrize("kind", ALL)
def test_a_missing_file(kind, damaged):
    folder, path, good = damaged(kind)
    path.unlink()
    view = check_view(folder, good, kind)
    assert view.told() or kind in ("evaluation", "merged evaluations", "marker", "merged markers")


@pytest.mark.parametrize("kind", ALL)
def test_a_file_cut_at_any_length(kind, damaged, outcome, request):
    folder, path, good = damaged(kind)
    data = path.read_bytes()
    lengths = random.Random(kind).sample(range(len(data)), min(len(data), 3))
    if "faults" in request.config.option.markexpr:
        lengths = range(0, len(data), max(1, len(data) // 600))
    for length in lengths:
        path.write_bytes(data[:length])
        view = check_view(folder, good, f"cut to {length} bytes")
        whole_text = path.suffix == ".json" and length == len(data) - 1  # only the last newline is gone
        assert view.told() or whole_text, f"cut to {length} of {len(data)} bytes"
    outcome(f"cut at any length: {kind}", sees="named in problems()", trials=len(lengths))


REGIONS = [
    (k, r)
    for k in ALL
    for r in (["JSON"] if ALL[k].endswith("json") else ["magic", "pages", "footer", "tail"])
]


@pytest.mark.parametrize("form", marked(["short", "long"], 1))
@pytest.mark.parametrize(("kind", "region"), REGIONS)
def test_a_flipped_bit_never_gives_a_wrong_number(kind, region, form, damaged, outcome):
    folder, path, good = damaged(kind)
    data = path.read_bytes()
    start, end = regions(path)[region]
    bits = range(8 * start, 8 * end)
    count = min(len(bits), SHORT if form == "short" else LONG)
    told = 0
    for bit in random.Random(f"{kind}{region}{form}").sample(bits, count):
        path.write_bytes(flip(data, bit))
        told += check_view(folder, good, f"bit {bit} of {path.name}, {region} {start}-{end}").told()
    sees = f"named ({round(100 * told / count)} %), or the same numbers"
    outcome(f"flipped bit: {kind}, {region}", sees=sees, trials=count)
