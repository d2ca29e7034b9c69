"""Corpus, model, optimizer and the training engine."""
