"""Data from elsewhere: files, records, specs and model folders, checked before anything in them is used."""
