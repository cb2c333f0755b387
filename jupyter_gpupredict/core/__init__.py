"""Pure core: data, arithmetic and contracts; no clock, thread, file or network of its own."""
