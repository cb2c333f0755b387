"""What runs the function: each is one file, with the rules that judge it; `registry` names them."""
