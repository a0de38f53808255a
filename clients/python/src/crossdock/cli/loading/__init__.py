"""Master data from a file: what a row means, how rows are sent, and which were refused."""
