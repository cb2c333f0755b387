"""Adapters of a third party."""
