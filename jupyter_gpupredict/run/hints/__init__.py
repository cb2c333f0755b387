"""Progress read from libraries' loops: each one file, all alike; `registry` names them."""
