"""The formats of recordings: one file each, named by the registry alone."""
