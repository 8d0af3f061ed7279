"""``python -m entropylab.cli.serve run APP ...``: Streamlit, with what the pages import loaded meanwhile."""

from __future__ import annotations

import importlib
import sys
import threading
from contextlib import suppress

MODULES = (
    "plotly.graph_objects",
    "pyarrow.parquet",
    "entropylab.record.reader",
    "entropylab.analysis.health",
    "entropylab.analysis.curve_data",
    "entropylab.analysis.comparison",
    "entropylab.plots.style",
)
"""What the first page imports: loaded while the server starts and the browser opens."""


def preload() -> None:
    """Import the modules of the first page; one that is missing is named by the page that needs it."""
    for name in MODULES:
        with suppress(ImportError):
            importlib.import_module(name)


def main() -> None:
    """Start the server with the arguments that ``streamlit`` takes."""
    from streamlit.web import cli

    threading.Thread(target=preload, name="entropylab-preload", daemon=True).start()
    sys.argv[0] = "streamlit"
    cli.main()


if __name__ == "__main__":
    main()
