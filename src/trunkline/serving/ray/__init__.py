"""Predictions on a Ray cluster (https://www.ray.io): files in bulk."""
