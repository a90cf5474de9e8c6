"""Branches written for other libraries, a file per target."""
