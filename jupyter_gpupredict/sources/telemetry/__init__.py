"""Telemetry sources: each one file, all alike; `registry` names them."""
