"""Data from outside: files, records and model folders, checked before anything in them is used."""
