"""Row B: analyses of one run's history, and tables over the runs of an experiment."""
