"""What an adapter is written with; see adapters/README.md."""
