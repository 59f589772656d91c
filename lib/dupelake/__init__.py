"""dupelake: near-duplicate image detection for lakehouses, on Spark and Delta Lake."""

__version__ = "0.1.0"
