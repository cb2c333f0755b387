"""How the GPU is divided: each one file, all alike; `registry` names them."""
