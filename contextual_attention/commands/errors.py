"""What a command raises for its user to read."""


class CommandError(Exception):
    """A command cannot do what it was asked: the message is all that its user sees, and says the way out."""
