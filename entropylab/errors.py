"""The errors of entropylab: one base, each also a type of the standard library."""

from __future__ import annotations


class EntropylabError(Exception):
    """Base of every error that entropylab raises on purpose."""


class InvalidInputError(EntropylabError, ValueError):
    """A value, shape, dtype or setting that cannot be used; the message names it and the mend."""


class MissingInputError(InvalidInputError):
    """An input that the chosen control, surrogate or analysis needs was not given."""


class MissingExtraError(EntropylabError, ImportError):
    """A package of an optional extra is not installed; the message holds the command that mends it."""


class UnknownNameError(EntropylabError, LookupError):
    """A method, metric or column that does not exist; the message lists those that do."""


class InsufficientDataError(InvalidInputError):
    """Too few points, steps or clusters for the analysis that was asked for."""


class RunNotFoundError(EntropylabError, FileNotFoundError):
    """No run, or not the part of a run that was asked for, at this place."""


class RunFormatError(EntropylabError, ValueError):
    """A file that is foreign, newer than this version, truncated or inconsistent."""


class FileChangedError(RunFormatError):
    """A file of a run was replaced while it was read, so that what was read of it cannot be used."""


class StoreError(EntropylabError, OSError):
    """An object store did not answer, refused, or sent less than it holds; the message names the URL."""


class EngineError(EntropylabError, RuntimeError):
    """Work could not be done on the workers: they died, or there is no cluster at the address."""


class RecorderError(EntropylabError, RuntimeError):
    """The recorder could not write, or was used out of order."""


def require_extra(module: str, extra: str, purpose: str) -> MissingExtraError:
    """The error for a missing optional package, with the command that installs it."""
    return MissingExtraError(
        f"{purpose} needs the package '{module}', which is not installed: "
        f"run  pip install 'entropylab-rl[{extra}]'"
    )
