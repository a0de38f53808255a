"""Work for endpoints: routed, ordered, dispatched, attempted, and what follows each outcome."""
