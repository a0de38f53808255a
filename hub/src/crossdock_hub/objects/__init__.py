"""Canonical objects: who may change which field, what leads where, and facts that came early."""
