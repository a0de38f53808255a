"""Adapters: one folder per endpoint, and the SDK they are written with."""
