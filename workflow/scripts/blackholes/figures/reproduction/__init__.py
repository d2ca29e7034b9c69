"""The figure of published values beside ours."""
