"""Studies: many runs compared, at what price, and whether a difference is real."""
