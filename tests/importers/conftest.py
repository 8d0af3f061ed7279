"""Makes the helpers of this folder importable."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def fixtures() -> Path:
    """What the real writers wrote; see make_fixtures.py."""
    return Path(__file__).parent / "fixtures"
