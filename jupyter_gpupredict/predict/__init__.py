"""From readings to a recommendation: windows, counters, confidence, and the rules."""
