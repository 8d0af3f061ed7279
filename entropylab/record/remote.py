"""A place in an object store, as far as a run needs pathlib; by pyarrow's file systems, else by fsspec's."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from functools import cached_property, lru_cache
from typing import IO, Any
from urllib.parse import urlsplit

from ..errors import EntropylabError, InvalidInputError, StoreError, require_extra

_NATIVE = ("s3", "gs", "gcs", "abfs", "abfss", "hdfs", "viewfs")
"""Schemes that pyarrow serves itself; what it was built without, and every other one, goes to fsspec."""

_SINGLE_PUT = "allow_delayed_open"
"""Setting of pyarrow's S3, not in every version, by which small objects are no multipart uploads."""

_CREDENTIALS = re.compile(r"//[^/@]*@")


class RemotePath:
    """A place in an object store, from a URL such as ``s3://bucket/runs/a``.

    Settings of the store follow as a query, which every place below shares:
    ``s3://bucket/a?endpoint_override=localhost:9000&scheme=http``. Credentials come from the environment.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        base, mark, query = url.partition("?")
        self._base, self._query = base.rstrip("/"), mark + query

    def __truediv__(self, name: str) -> RemotePath:
        return RemotePath(f"{self._base}/{name}{self._query}")

    def __str__(self) -> str:
        """The URL without settings and credentials."""
        return _CREDENTIALS.sub("//", self._base)

    def __repr__(self) -> str:
        return f"RemotePath({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RemotePath) and self.url == other.url

    def __lt__(self, other: RemotePath) -> bool:
        return self._base < other._base

    def __hash__(self) -> int:
        return hash(self.url)

    @property
    def name(self) -> str:
        """The last part."""
        return self._base.rsplit("/", 1)[-1]

    @property
    def parent(self) -> RemotePath:
        """The place above."""
        return RemotePath(self._base.rsplit("/", 1)[0] + self._query)

    def resolve(self) -> RemotePath:
        """The place itself: a URL has no other name."""
        return self

    @cached_property
    def store(self) -> tuple[Any, str]:
        """(pyarrow file system, path in it)."""
        scheme, separator, rest = self._base.partition("://")
        bucket = rest.split("/", 1)[0]
        system, first = _file_system(f"{scheme}{separator}{bucket}{self._query}")
        path = "/".join(part for part in (first, rest.partition("/")[2]) if part)
        return system, path

    def is_file(self) -> bool:
        """Whether there is an object of exactly this name."""
        return self.stamp() is not None

    def exists(self) -> bool:
        """Whether there is such an object, or one below."""
        return _call(lambda: self._info().type.name in ("File", "Directory"), self)

    def is_dir(self) -> bool:
        """Whether there is an object below."""
        return _call(lambda: self._info().type.name == "Directory", self)

    def stamp(self) -> tuple[int, int | None] | None:
        """(size, time of change in ns if the store tells it) of an object, None where there is none."""
        info = _call(self._info, self)
        return (info.size, info.mtime_ns) if info.type.name == "File" else None

    def files(self) -> list[tuple[str, tuple[int, int | None]]]:
        """(name relative to this place, stamp) of every object below, from one listing."""
        return [(name, stamp) for name, stamp in self._listed(recursive=True) if stamp is not None]

    def children(self) -> list[tuple[str, tuple[int, int | None] | None]]:
        """(name, stamp) of what lies directly below; the stamp of a folder is None."""
        return self._listed(recursive=False)

    def read_bytes(self) -> bytes:
        """The content of an object; `FileNotFoundError` where there is none, `StoreError` for any failure."""

        def read() -> bytes:
            with self.open() as file:
                data, size = file.readall(), file.size()
            if len(data) != size:
                raise StoreError(f"{self}: the store sent {len(data)} of {size} bytes; try again")
            return data

        return _call(read, self)

    def open(self) -> Any:
        """The object for reading at any place, as a pyarrow file."""
        system, path = self.store
        return _call(lambda: system.open_input_file(path), self)

    def write(self, fill: Callable[[IO[bytes]], None]) -> None:
        """Put an object as a whole: made in memory, sent at once, and its size compared."""
        memory = io.BytesIO()
        fill(memory)
        data = memory.getbuffer()
        system, path = self.store

        def put() -> None:
            with system.open_output_stream(path) as stream:
                stream.write(data)

        _call(put, self)
        stamp = self.stamp()
        if stamp is None or stamp[0] != len(data):
            raise StoreError(f"{self}: {len(data)} bytes were sent, the store holds {stamp and stamp[0]}")

    def unlink(self, missing_ok: bool = False) -> None:
        """Delete an object."""
        system, path = self.store
        try:
            _call(lambda: system.delete_file(path), self)
        except FileNotFoundError:
            if not missing_ok:
                raise

    def _info(self) -> Any:
        system, path = self.store
        return system.get_file_info(path)

    def _listed(self, recursive: bool) -> list[tuple[str, tuple[int, int | None] | None]]:
        from pyarrow.fs import FileSelector

        system, path = self.store
        selector = FileSelector(path, recursive=recursive, allow_not_found=True)
        found = _call(lambda: system.get_file_info(selector), self)
        start = len(path.rstrip("/")) + 1
        return [
            (i.path[start:], (i.size, i.mtime_ns) if i.type.name == "File" else None)
            for i in found
            if i.path[start:]
        ]


def _call(action: Callable[[], Any], place: RemotePath) -> Any:
    """What an action gives; every failure of the store as `StoreError` that names the place."""
    try:
        return action()
    except (FileNotFoundError, EntropylabError):
        raise
    except Exception as error:
        kind = "" if isinstance(error, OSError) else f"{type(error).__name__}: "
        raise StoreError(
            f"{place}: the store failed: {kind}{error}; check address, rights and network, then try again"
        ) from error


@lru_cache(maxsize=32)
def _file_system(root: str) -> tuple[Any, str]:
    """(file system, path) of the URL of a bucket or host."""
    scheme = urlsplit(root).scheme
    if scheme in _NATIVE:
        try:
            return _native(root)
        except (ImportError, NotImplementedError):
            pass  # pyarrow was built without it
    return _through_fsspec(root, scheme)


def _native(root: str) -> tuple[Any, str]:
    import pyarrow as pa
    from pyarrow.fs import FileSystem

    uri = _with_single_puts(root)
    try:
        return FileSystem.from_uri(uri)
    except pa.ArrowNotImplementedError as error:
        raise NotImplementedError from error
    except OSError:
        raise
    except (pa.ArrowException, ValueError) as error:
        if uri != root and _SINGLE_PUT in str(error):
            return FileSystem.from_uri(root)  # an older pyarrow does not know the setting
        raise InvalidInputError(f"path {_CREDENTIALS.sub('//', root)!r} cannot be used: {error}") from error


def _with_single_puts(root: str) -> str:
    """The URL of a bucket, set to put an object in one request instead of three where it is small."""
    if not root.startswith("s3:") or _SINGLE_PUT in root:
        return root
    return f"{root}{'&' if '?' in root else '?'}{_SINGLE_PUT}=true"


def _through_fsspec(root: str, scheme: str) -> tuple[Any, str]:
    from pyarrow.fs import FSSpecHandler, PyFileSystem

    try:
        import fsspec
    except ImportError as error:
        raise require_extra("fsspec", "s3", f"a run at {scheme}://") from error
    try:
        system, path = fsspec.core.url_to_fs(root.partition("?")[0])
    except ImportError as error:
        raise require_extra(f"fsspec's package for {scheme}", "s3", f"a run at {scheme}://") from error
    except ValueError as error:
        raise InvalidInputError(
            f"path {root!r}: {error}; give a local folder or a URL such as s3://"
        ) from error
    return PyFileSystem(FSSpecHandler(system)), path.strip("/") if scheme != "memory" else path.rstrip("/")
