"""The verl plug-in: importing this module registers our losses and our trainer with verl.

verl imports it by itself through the entry point group ``verl.plugins`` (verl >= 0.9), or where
``VERL_USE_EXTERNAL_MODULES=entropylab.trainers.verl`` is set (verl >= 0.6) in the environment of the Ray
workers. verl swallows errors of entry points: ``entropylab doctor --trainer verl`` says what was loaded.
Where verl is not installed, nothing is registered and no error is raised.
"""

from __future__ import annotations

from .registration import register

register()
