"""What sees all devices of a machine at once, one file each; a source reads one device."""
