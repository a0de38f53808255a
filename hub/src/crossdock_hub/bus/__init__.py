"""The bus: streams, what is published on them, and the embedded nats-server behind them."""
