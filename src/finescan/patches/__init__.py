"""The patches room."""
