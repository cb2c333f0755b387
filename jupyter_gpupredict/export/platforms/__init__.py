"""What runs the function: each one file, all alike; `registry` names them."""
