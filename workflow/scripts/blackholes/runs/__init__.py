"""Row B: what is computed from one run's history, and over the runs of an experiment."""
