"""spark-submit entry point; `--help` lists the options. The work is in dupelake.pipeline.overlap."""

import sys

try:
    from dupelake.pipeline.overlap import main
except ModuleNotFoundError as error:
    sys.exit(
        f"dupelake: {sys.executable} has no {error.name}; set PYSPARK_PYTHON to a Python with all that dupelake needs"
    )

if __name__ == "__main__":
    sys.exit(main())
