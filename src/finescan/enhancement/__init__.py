"""The enhancement room."""
