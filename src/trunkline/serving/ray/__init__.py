"""Predictions on a Ray cluster (https://www.ray.io): files in bulk, and a deployment of Ray Serve."""

from trunkline.serving.ray.deployment import Asked, application

__all__ = ["Asked", "application"]
