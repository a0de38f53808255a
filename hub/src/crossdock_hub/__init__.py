"""The hub of crossdock: checks, commits, publishes; the only writer of its database."""
