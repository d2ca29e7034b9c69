"""The open questions, each with an answer from the runs that the configuration has (docs/questions.md)."""
