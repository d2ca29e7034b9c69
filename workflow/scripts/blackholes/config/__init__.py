"""The configuration: pydantic models, the single source of defaults, ranges and documentation."""
