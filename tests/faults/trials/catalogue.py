"""Every fault test there is, by its id."""

from __future__ import annotations

from tests.faults.trials import adapter_kills, kill_rounds
from tests.faults.trials.trial import Trial

TRIALS: dict[str, Trial] = {
    trial.id: trial
    for trial in (
        adapter_kills.G1,
        adapter_kills.G2,
        kill_rounds.G3,
        kill_rounds.G4,
        kill_rounds.G5,
    )
}
