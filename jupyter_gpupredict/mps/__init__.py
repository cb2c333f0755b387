"""NVIDIA MPS: a daemon of our own, and what makes a process its client.

The only part that changes anything on the machine, on request, and puts it back (docs/mps.md).
"""
