"""Where a run is shown while it trains: the screen, and the sinks for metrics."""
