"""Which values of a diagnostic are healthy, and what the others mean."""

from typing import NamedTuple


class Band(NamedTuple):
    """The healthy range of a diagnostic.

    Attributes:
        low: Lower end.
        high: Upper end.
    """

    low: float
    high: float

    def verdict(self, value: float) -> str:
        """Says where a value lies: "low", "healthy" or "high"."""
        if value < self.low:
            return "low"
        return "high" if value > self.high else "healthy"


# Rules of thumb of practice, not of the paper. Below its band the step hardly moves the policy; above,
# much of each batch has stopped contributing gradients.
CLIP_FRACTION = Band(0.05, 0.30)
