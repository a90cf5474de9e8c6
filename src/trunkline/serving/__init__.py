"""Serving: every task of a trunk for the price of one pass, to many callers at once (engine.py)."""
