"""From one training to many: transformations of the algorithm."""
