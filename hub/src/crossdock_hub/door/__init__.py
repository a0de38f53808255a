"""The gRPC server: which method, who calls, are the bytes the message, and how answers go out."""
