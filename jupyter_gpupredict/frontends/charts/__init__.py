"""A run as figures and in text."""
