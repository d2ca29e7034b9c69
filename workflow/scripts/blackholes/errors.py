"""The one exception that a user's input can cause."""


class UserError(ValueError):
    """Bad input: one line that names the file or key, its value, and what was expected."""
