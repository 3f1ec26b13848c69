"""Worker processes and what they need; nothing in here knows of graphs or maps."""
