"""The registration room."""
