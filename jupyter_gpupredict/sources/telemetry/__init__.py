"""Telemetry sources, as `registry` names them."""
