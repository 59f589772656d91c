"""spark-submit entry point; `--help` lists the options. The work is in dupelake.jobs.cluster."""

import sys

from dupelake.jobs.cluster import main

if __name__ == "__main__":
    sys.exit(main())
