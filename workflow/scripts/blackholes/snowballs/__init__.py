"""Row D: synthetic tokens around one point, and their statistics."""
