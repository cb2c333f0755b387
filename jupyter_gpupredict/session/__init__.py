"""One measured run: sampling, analysis, delivery and the stored trace."""
