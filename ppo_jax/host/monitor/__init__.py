"""Shows a run while it trains: the screen, and the sinks for metrics."""
