"""Figures of row D."""
