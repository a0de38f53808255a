"""Replays: which old work is sent to an endpoint again, planned and run by the same decision."""
