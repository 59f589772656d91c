"""The version of dupelake."""

VERSION = "0.1.0"
