"""`vocabulary.parquet`: the text of each token id, written once a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import InvalidInputError, RunFormatError, StoreError
from .files import Location
from .paths import VOCABULARY_FILE
from .writer import write_parquet

_COLUMN = "token"


def checked_vocabulary(vocabulary: Sequence[str] | None) -> list[str] | None:
    """The texts as a list; `InvalidInputError` where one is no string."""
    if vocabulary is None:
        return None
    if isinstance(vocabulary, str):
        raise InvalidInputError("vocabulary is one string; give a list of texts, one a token id")
    wrong = next((i for i, text in enumerate(vocabulary) if not isinstance(text, str)), None)
    if wrong is not None:
        raise InvalidInputError(
            f"vocabulary[{wrong}] is a {type(vocabulary[wrong]).__name__}; give the text of each token id"
        )
    return list(vocabulary)


def write_vocabulary(folder: Location, vocabulary: Sequence[str]) -> None:
    """Write the texts [V] in the order of their ids, in place of those of an earlier attempt."""
    texts = [text.encode("utf-8", "replace").decode("utf-8") for text in vocabulary]
    write_parquet(folder / VOCABULARY_FILE, pa.table({_COLUMN: pa.array(texts, pa.string())}))


def vocabulary_of(folder: Location, config: dict[str, Any]) -> tuple[str, ...]:
    """The text of each token id: ``config["vocabulary"]``, else the file; empty where there is neither.

    Raises `RunFormatError` where the file is there and cannot be read.
    """
    told = config.get("vocabulary")
    if isinstance(told, list):
        return tuple(map(str, told))
    path = folder / VOCABULARY_FILE
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return ()
    except StoreError:
        raise
    except OSError as error:
        raise RunFormatError(f"{path}: cannot be read ({error.strerror or error})") from error
    try:
        column = pq.read_table(pa.BufferReader(data), columns=[_COLUMN])[_COLUMN]
        return tuple(column.cast(pa.string()).to_pylist())
    except (pa.ArrowException, KeyError, OSError, ValueError) as error:
        raise RunFormatError(
            f"{path}: no table of token texts, so truncated or foreign ({error}); "
            "without it tokens show as ids"
        ) from error
