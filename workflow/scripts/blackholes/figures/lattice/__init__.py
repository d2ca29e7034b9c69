"""Figures of row E."""
