"""Row C: black holes and the overdensity in the embedding of a finished checkpoint."""
