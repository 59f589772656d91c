"""spark-submit entry point of `dupelake register`; `--help` lists the options."""

import sys

try:
    import dupelake.pipeline.register  # noqa: F401 - imports Spark, so that what is missing is told here
    from dupelake.cli import main
except ModuleNotFoundError as error:
    sys.exit(
        f"dupelake: {sys.executable} has no {error.name}; set PYSPARK_PYTHON to a Python with all that dupelake needs"
    )

if __name__ == "__main__":
    sys.exit(main(["register", *sys.argv[1:]]))
