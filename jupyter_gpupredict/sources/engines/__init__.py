"""Clusters that run our sampler beside their work: one file each, and what runs on the worker."""
