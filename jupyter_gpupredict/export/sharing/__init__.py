"""How the GPU is divided: each is one file, with the rules that judge it; `registry` names them."""
