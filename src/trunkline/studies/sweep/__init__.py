"""Searching for the values of a config's keys: Optuna decides what is tried, and each trial is an ordinary run."""
