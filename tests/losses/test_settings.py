"""Settings as plain data, and what can be imported without torch."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap

import pytest

from entropylab.errors import InvalidInputError, UnknownNameError
from entropylab.losses.controls.clip_cov import ClipCov
from entropylab.losses.controls.entropy_bonus import EntropyBonus
from entropylab.losses.controls.kl_cov import KLCov
from entropylab.losses.methods import _ROWS, METHODS
from entropylab.losses.settings import from_dict, to_dict
from entropylab.losses.surrogates import REINFORCE, PPOClip


def test_no_row_hides_another():
    """Two rows of one key would be one entry of the table, and two settings of one name one kind."""
    assert [row.key for row in _ROWS] == list(METHODS)
    assert all(row.key == key for key, row in METHODS.items())
    kinds = {type(one) for row in _ROWS for one in (row.surrogate, row.control, row.advantages)}
    assert len({kind.__name__ for kind in kinds}) == len(kinds)


def test_the_table_cannot_be_changed():
    with pytest.raises(TypeError):
        METHODS["grpo"] = None


def test_rows_hold_the_published_settings():
    assert METHODS["clip_higher"].surrogate == PPOClip(low=0.2, high=0.28)
    assert METHODS["clip_cov"].surrogate == PPOClip(low=1.0, high=1.0)
    assert METHODS["clip_cov_top"].surrogate == REINFORCE()
    assert METHODS["kl_cov_targeted"].needs == ("full_kl",)
    assert METHODS["random_clip"].control.fraction == METHODS["clip_cov"].control.fraction
    assert METHODS["random_clip"].surrogate == METHODS["clip_cov"].surrogate


@pytest.mark.parametrize("key", METHODS)
def test_every_row_survives_json(key):
    row = METHODS[key]
    for setting in (row.surrogate, row.control, row.advantages):
        assert from_dict(json.loads(json.dumps(to_dict(setting)))) == setting


def test_forms():
    assert to_dict(None) is None is from_dict(None)
    assert to_dict(PPOClip(0.1, 0.3)) == {"name": "PPOClip", "low": 0.1, "high": 0.3}
    both = (ClipCov(), EntropyBonus(0.1))
    assert [d["name"] for d in to_dict(both)] == ["ClipCov", "EntropyBonus"]
    assert from_dict(to_dict(both)) == both
    assert from_dict({"name": "KLCov"}) == KLCov()


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        ({"name": "ClipCoV"}, UnknownNameError, "unknown setting 'ClipCoV'; known: .*ClipCov"),
        ({"name": "ClipCov", "percent": 2}, InvalidInputError, "ClipCov has no field percent"),
        ({"name": "ClipCov", "fraction": 2}, InvalidInputError, "not a percentage"),
        ({"name": "EntropyBonus"}, InvalidInputError, "EntropyBonus: .*coef"),
        ({"fraction": 2}, InvalidInputError, "expected a dict with 'name'"),
        ("ClipCov", InvalidInputError, "expected a dict with 'name'"),
    ],
)
def test_bad_data_is_named(data, error, message):
    with pytest.raises(error, match=message):
        from_dict(data)


def test_only_settings_become_data():
    with pytest.raises(InvalidInputError, match="is not a surrogate or control"):
        to_dict(object())


# --- without torch

BLOCK = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "torch":
            raise ModuleNotFoundError("No module named 'torch'", name="torch")
sys.meta_path.insert(0, Block())
"""


def _python(code, prelude=BLOCK):
    return subprocess.run(
        [sys.executable, "-c", prelude + textwrap.dedent(code)], capture_output=True, text=True, check=False
    )


def test_settings_and_twins_work_where_torch_is_not_installed():
    done = _python("""
        import numpy as np, entropylab as el
        from entropylab.losses.settings import from_dict, to_dict
        for row in el.METHODS.values():
            assert from_dict(to_dict(row.control)) == row.control
            assert row.text and isinstance(row.needs, tuple)
        el.KLCov.targeted(count=4), el.RandomClip(), el.EntropyBonus(0.1), el.KLPenalty(0.1), el.REINFORCE()
        cov = np.array([3.0, 1.0, 2.0, 2.0])
        ids, positions = np.array([1, 1, 9, 4]), np.array([0, 1, 0, 0])
        print(el.ClipCov.top(0.5).choose_numpy(cov, ids, positions, seed=0, step=0))
        assert "torch" not in sys.modules
    """)
    assert done.stdout.strip() == "[ True False False  True]", done.stderr


@pytest.mark.parametrize("prelude", [BLOCK, "import sys; sys.modules['torch'] = None\n"])
@pytest.mark.parametrize(
    "use", ["policy_loss", "token_covariance", "FullKL", "PolicyLoss", "select_tokens", "Selection"]
)
def test_a_loss_without_torch_is_one_clear_error(use, prelude):
    done = _python(
        f"""
        import entropylab as el
        try:
            el.{use}
        except el.EntropylabError as error:
            assert isinstance(error, ImportError)
            print(type(error).__name__, error)
        """,
        prelude,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("MissingExtraError")
    assert "'torch', which is not installed: run  pip install 'entropylab-rl[train]'" in done.stdout


@pytest.mark.long
def test_the_blocker_can_fail():
    assert "torch" in _python("import torch").stderr
    assert _python("import torch", prelude="").returncode == 0
