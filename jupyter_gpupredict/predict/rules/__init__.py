"""Stop rules: each one file, all alike; `registry` names them."""
