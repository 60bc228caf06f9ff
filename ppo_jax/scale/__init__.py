"""Transformations of the algorithm that turn one run into many."""
