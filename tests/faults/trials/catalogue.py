"""Every fault test there is, by its id."""

from __future__ import annotations

from tests.faults.trials import (
    abuse,
    adapter_kills,
    bus_losses,
    cluster,
    disks,
    hub_life,
    kill_rounds,
    labels,
    look_ups,
    many_writers,
    neighbours,
    put_back,
    reading_again,
    redelivery,
    spending,
    virtual,
    zombies,
)
from tests.faults.trials.trial import Trial

_ALL = (
    adapter_kills.G1,
    adapter_kills.G2,
    kill_rounds.G3,
    kill_rounds.G4,
    kill_rounds.G5,
    hub_life.G6,
    cluster.G8,
    cluster.G9,
    disks.G10,
    disks.G11,
    virtual.G12,
    neighbours.G13,
    neighbours.G14,
    redelivery.G15,
    virtual.G16,
    bus_losses.G17,
    bus_losses.G18,
    put_back.G19,
    hub_life.G20,
    many_writers.G22,
    zombies.G23,
    look_ups.G24,
    reading_again.G25,
    look_ups.G26,
    spending.G27,
    virtual.G29,
    virtual.G30,
    labels.L1,
    abuse.A1,
    abuse.A2,
    abuse.A5,
)
TRIALS: dict[str, Trial] = {trial.id: trial for trial in _ALL}
