"""Figures: matplotlib and numpy; never torch."""
