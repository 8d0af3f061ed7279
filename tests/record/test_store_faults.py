"""An object store that is slow, refuses or cuts connections: the right numbers or a named error."""

from __future__ import annotations

import random
import shutil
import uuid
from collections import Counter
from urllib.parse import parse_qs, urlsplit
from zlib import crc32

import pandas as pd
import pyarrow as pa
import pytest
from pyarrow.fs import AwsDefaultS3RetryStrategy, S3FileSystem
from store_proxy import CUT, HALF, INTERNAL, SLOW_DOWN, StoreProxy
from store_server import settings, store_server, upload

import entropylab as el
from entropylab.errors import EntropylabError, RecorderError, StoreError
from entropylab.record import remote
from entropylab.record.compaction import compact_run
from entropylab.record.pruning import prune_run
from entropylab.record.remote import RemotePath


@pytest.fixture(scope="module")
def server():
    with store_server() as port:
        yield port


@pytest.fixture
def proxy(server, tmp_path, monkeypatch):
    for name, value in {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "key"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(remote, "_native", impatient)
    remote._file_system.cache_clear()
    with StoreProxy(server) as found:
        yield found


def impatient(root: str):
    """pyarrow's S3 as from a URL, but a request is tried twice at once instead of for six seconds."""
    query = {name: values[0] for name, values in parse_qs(urlsplit(root).query).items()}
    retries = AwsDefaultS3RetryStrategy(max_attempts=2)
    return S3FileSystem(allow_delayed_open=True, retry_strategy=retries, **query), urlsplit(root).netloc


@pytest.fixture(scope="module")
def local(make_run, tmp_path_factory):
    path = tmp_path_factory.mktemp("store") / "r"
    run = make_run(path, steps=2, prompts=2, group=2, updates=1, world_size=2, evaluate_every=5)
    return path, {name: read(run) for name, read in READS.items()}


@pytest.fixture
def url(local, server, proxy):
    """The same run in the store, behind the proxy."""
    prefix = uuid.uuid4().hex
    upload(local[0], server, prefix)
    return f"s3://runs/{prefix}?{settings(proxy.port)}"


READS = {
    "steps": lambda run: run.steps(),
    "updates": lambda run: run.steps(by="update"),
    "evaluations": lambda run: run.evaluations(),
    "tokens": lambda run: pa.Table.from_batches(list(run.tokens())).to_pandas(),
    "responses": lambda run: pa.Table.from_batches(list(run.responses())).to_pandas(),
    "problems": lambda run: pd.DataFrame(run.problems(False)),
}
SUMMARIES = ("steps", "updates", "evaluations", "problems")


def check(url: str, expected: dict[str, pd.DataFrame], names=tuple(READS)) -> None:
    run = el.open_run(url)
    for name in names:
        pd.testing.assert_frame_equal(READS[name](run), expected[name], check_exact=True)


def right_or_named(url: str, expected: dict[str, pd.DataFrame]) -> Counter:
    """Every reading gives the right frame or an error of ours that names the place; how often which."""
    found, messages = Counter(), []
    run = None
    for name, read in READS.items():
        try:
            run = run or el.open_run(url)
            frame = read(run)
        except EntropylabError as error:
            messages.append(str(error))
            found[type(error)] += 1
            continue
        pd.testing.assert_frame_equal(frame, expected[name], check_exact=True)
        found["right"] += 1
    assert all("s3://runs/" in text and "endpoint_override" not in text for text in messages)
    return found


def first_of_some(fault):
    """A fault at the first of equal requests, for a third of them: fewer than the SDK tries again in all."""
    return lambda request, before: fault if before == 0 and crc32(repr(request).encode()) % 3 == 0 else None


@pytest.mark.quick("slow down", "cut")
@pytest.mark.parametrize("fault", [SLOW_DOWN, INTERNAL, CUT], ids=["slow down", "internal", "cut"])
def test_what_fails_once_is_tried_again(fault, url, proxy, local):
    proxy.fault = first_of_some(fault)
    assert right_or_named(url, local[1]) == {"right": len(READS)}


ALWAYS = [
    ("LIST", "", SLOW_DOWN),
    ("LIST", "", CUT),
    ("HEAD", "markers/step-000001/rank-0001", CUT),
    ("GET", "markers/step-000001/rank-0001", INTERNAL),
    ("GET", "markers/step-000001/rank-0001", HALF),
    ("GET", "tokens/step-000001", SLOW_DOWN),
    ("GET", "tokens/step-000001", HALF),
    ("GET", "_run.json", CUT),
]


@pytest.mark.quick("LIST--fault0", "HEAD-*", "GET-tokens/*-fault6", "GET-_run.json-*")
@pytest.mark.parametrize(("kind", "key", "fault"), ALWAYS)
def test_what_fails_always_is_a_named_error_and_leaves_no_wrong_summary(kind, key, fault, url, proxy, local):
    proxy.fault = lambda request, _: fault if request.kind == kind and key in request.key else None
    found = right_or_named(url, local[1])
    assert found[StoreError] >= 1
    assert set(found) <= {"right", StoreError}
    proxy.reset()
    check(url, local[1])


@pytest.mark.quick("1")
@pytest.mark.parametrize("seed", range(2))
def test_faults_at_random(seed, url, proxy, local):
    draw = random.Random(seed)
    proxy.fault = lambda *_: draw.choice([SLOW_DOWN, INTERNAL, CUT]) if draw.random() < 0.4 else None
    right_or_named(url, local[1])
    proxy.reset()
    check(url, local[1])


def test_a_url_is_tried_again_as_well(url, proxy, local, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "key")
    remote._file_system.cache_clear()
    proxy.fault = lambda request, before: SLOW_DOWN if before == 0 and request.kind == "LIST" else None
    assert el.open_run(url).problems(rows=False) == []
    assert proxy.counts()["LIST"] == 2


def test_a_slow_store_gives_the_same(url, proxy, local):
    proxy.delay = 0.02
    check(url, local[1])


REWRITES = {
    "compact": lambda url: compact_run(url),
    "prune": lambda url: prune_run(url, keep_every=2, dry_run=False),
}


@pytest.mark.quick("PUT-*-compact", "DELETE-*-prune")
@pytest.mark.parametrize("rewrite", REWRITES)
@pytest.mark.parametrize(
    ("kind", "key"),
    [
        ("PUT", "compacted"),
        ("DELETE", "tokens/step-000001"),
        ("GET", "markers/step"),
        ("GET", "tokens/step-000001"),
    ],
)
def test_a_rewriting_that_fails_loses_nothing_and_the_next_one_finishes(
    rewrite, kind, key, url, proxy, local
):
    proxy.fault = lambda request, _: INTERNAL if request.kind == kind and key in request.key else None
    with pytest.raises(RecorderError, match=r"s3://runs/.*could not be (compacted|pruned)"):
        REWRITES[rewrite](url)
    proxy.reset()
    check(url, local[1], SUMMARIES[:3])
    REWRITES[rewrite](url)
    run = el.open_run(url)
    check(url, local[1], SUMMARIES)
    assert run.pruned_steps() == ([1] if rewrite == "prune" else [])
    if rewrite == "compact":
        check(url, local[1])


@pytest.mark.long
@pytest.mark.parametrize("rewrite", REWRITES)
def test_a_rewriting_with_faults_in_between_is_as_without(rewrite, url, proxy, local):
    proxy.fault = first_of_some(SLOW_DOWN)
    REWRITES[rewrite](url)
    proxy.reset()
    check(url, local[1], SUMMARIES)


def record(url: str, batch, steps) -> None:
    with el.Recorder(url) as recorder:
        for step in steps:
            recorder.record(step, **batch(step))
            recorder.end_step(step)
            recorder.flush()


def test_a_recording_with_faults_in_between_is_as_without(server, proxy, batch, tmp_path):
    url = f"s3://runs/{uuid.uuid4().hex}?{settings(proxy.port)}"
    proxy.fault = first_of_some(SLOW_DOWN)
    record(url, batch, range(3))
    record(tmp_path / "r", batch, range(3))
    proxy.reset()
    expected, found = (el.open_run(p).steps().drop(columns="recorded_at") for p in (tmp_path / "r", url))
    pd.testing.assert_frame_equal(found, expected, check_exact=True)
    assert el.open_run(url).problems(True) == []


@pytest.mark.parametrize("kind", ["tokens", "markers"])
def test_a_recording_that_the_store_refuses_is_an_error_of_the_training(kind, server, proxy, batch):
    url = f"s3://runs/{uuid.uuid4().hex}?{settings(proxy.port)}"
    key = f"{kind}/step-000001"
    proxy.fault = lambda request, _: INTERNAL if request.kind == "PUT" and key in request.key else None
    with pytest.raises(RecorderError, match=r"s3://runs/"):
        record(url, batch, range(3))
    proxy.reset()
    run = el.open_run(url)
    assert run.steps()["step"].tolist() == [0]
    assert {p.kind for p in run.problems()} <= {"interrupted", "incomplete_step"}
    assert RemotePath(url).is_dir()


def test_requests_do_not_grow_with_looking_again(make_run, tmp_path, server, proxy):
    """The first look opens each file; every look after it is one listing, in this process and the next."""
    steps, ranks = 16, 2
    folder = tmp_path / "r"
    make_run(folder, steps=steps, prompts=2, group=2, updates=1, world_size=ranks, evaluate_every=50)
    upload(folder, server, "counted")
    url = f"s3://runs/counted?{settings(proxy.port)}"
    run = el.open_run(url)
    assert proxy.counts() == {"HEAD": 1, "GET": 1}  # _run.json; pyarrow asks for the size of all it opens
    proxy.reset()
    first = run.steps(), run.problems(rows=False)
    counts = proxy.counts()
    assert counts["LIST"] == 2
    read = {request.key for request in proxy.requests if request.kind == "GET"}
    asked = Counter(request.key for request in proxy.requests if request.kind == "HEAD")
    assert set(asked) == read
    assert len(read) == 2 * steps * ranks + len(list(folder.glob("evaluations/*/*")))
    assert all(n == 1 for key, n in asked.items() if "/tokens/" not in key)
    for again in (run, el.open_run(url), run.frozen()):
        proxy.reset()
        found = again.steps(), again.problems(rows=False)
        assert proxy.counts() in ({"LIST": 2}, {})
        pd.testing.assert_frame_equal(found[0], first[0], check_exact=True)
        assert found[1] == first[1] == []
    assert run.problems(True) == []
    proxy.reset()
    assert el.open_run(url).problems(True) == []
    opened = {request.key for request in proxy.requests if request.kind == "GET"}
    asked = Counter(request.key for request in proxy.requests if request.kind == "HEAD")
    assert all(asked[key] == 1 for key in opened), "stamps come from the listing"
    shutil.rmtree(folder)
