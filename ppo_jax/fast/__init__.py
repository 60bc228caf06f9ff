"""Faster forms of plain computations. Each function says which plain form has the same values."""
