"""The verdicts on a diagnostic, and the healthy range of the clip fraction."""

from typing import NamedTuple

HEALTHY, LOOK, BAD, UNKNOWN = VERDICTS = ("healthy", "look", "bad", "unknown")


class Band(NamedTuple):
    """The healthy range of a diagnostic, both ends included.

    Attributes:
        low: The lower end.
        high: The upper end.
    """

    low: float
    high: float

    def verdict(self, value: float) -> str:
        """Says where a value lies: "low", "healthy" or "high"."""
        if value < self.low:
            return "low"
        return "high" if value > self.high else "healthy"


# Below this band the steps hardly move the policy; above it, much of each batch has stopped contributing
# gradients.
CLIP_FRACTION = Band(low=0.05, high=0.30)
