"""Parts for revseg, found by their entry points."""
