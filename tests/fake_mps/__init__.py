"""A stand-in for nvidia-cuda-mps-control; `FOLDER` goes in front of PATH."""

from pathlib import Path

FOLDER = Path(__file__).parent
