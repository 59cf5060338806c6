"""From an enhanced image to the numbers the user came for, without torch."""
