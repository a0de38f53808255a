"""What only one vendor does wrong: misbehaviours that its sandbox plays, set by commands.

    class PigeonSandbox(Misbehaving):
        misbehaviours = frozenset({"silence", "late_results"})
        ...
        if self.misbehaves("silence"): return        lasts until `behave`
        if self.struck("late_results"): seconds += 3     once for each of its count

The faults that every vendor can show are the frame's (`faults`).
"""

from __future__ import annotations

from typing import Any, ClassVar

from crossdock_adapters.sdk.sandbox import Command, Sandbox, SandboxConfig


class Misbehaving(Sandbox):
    """A sandbox with misbehaviours of its own. Keep "_misbehaves" with the vendor's memory."""

    misbehaviours: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, config: SandboxConfig) -> None:
        super().__init__(config)
        self._misbehaves: dict[str, int] = {}

    def commands(self) -> dict[str, Command]:
        """misbehave, behave; a vendor with more adds its own."""
        return {"misbehave": self._misbehave, "behave": self._behave}

    def misbehaves(self, kind: str) -> bool:
        """Whether a misbehaviour is in force; uses up nothing."""
        return self._misbehaves.get(kind, 0) > 0

    def struck(self, kind: str) -> bool:
        """Whether a misbehaviour strikes now; uses up one of its count."""
        if not self.misbehaves(kind):
            return False
        self._misbehaves[kind] -= 1
        return True

    async def _misbehave(self, body: dict[str, Any]) -> dict[str, int]:
        """{"kind", "count"?}"""
        kind = str(body["kind"])
        if kind not in self.misbehaviours:
            raise ValueError(f"kind must be one of {', '.join(sorted(self.misbehaviours))}")
        self._misbehaves[kind] = int(body.get("count", 1))
        return self._misbehaves

    async def _behave(self, _: dict[str, Any]) -> dict[str, int]:
        self._misbehaves.clear()
        return self._misbehaves
