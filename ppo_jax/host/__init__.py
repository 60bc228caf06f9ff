"""Everything around the pure core that touches the clock, the disk or the screen."""
