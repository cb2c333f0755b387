"""The doors to the driver and the process table."""
