"""From a notebook's cells to a folder that runs: module, handler, requirements, recipe."""
