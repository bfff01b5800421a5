"""Plug-ins that let other projects' engines use revseg. Importing revseg imports nothing of these projects."""
