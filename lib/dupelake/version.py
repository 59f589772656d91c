"""The version of dupelake."""

__version__ = "0.1.0"
