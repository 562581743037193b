"""Wire formats, one file each: pure functions between bytes and values."""
