"""Every picture of this package."""
