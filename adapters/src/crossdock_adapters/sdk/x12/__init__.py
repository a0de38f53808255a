"""X12 as partners exchange it: segments, envelopes, acknowledgments, duplicates and sequence."""
