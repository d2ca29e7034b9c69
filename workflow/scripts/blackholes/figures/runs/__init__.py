"""Figures of rows A and B: one run, one experiment, experiments side by side."""
