"""Running under NVIDIA MPS. The only package that changes a device's state, on request."""
