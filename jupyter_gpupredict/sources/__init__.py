"""Where readings come from: driver, machine, cluster, recording."""
