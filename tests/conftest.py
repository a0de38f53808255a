"""Fixtures that every test may use; each lives in a module named after what it starts."""

pytest_plugins = ["fixtures_nats", "fixtures_hub"]
