"""What people touch: the magic, measure(), the command line, the server extension."""
