"""Figures of row C."""
