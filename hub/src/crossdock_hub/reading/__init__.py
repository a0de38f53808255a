"""What is read and shown: lists, traces, verdicts, queues; changes nothing."""
