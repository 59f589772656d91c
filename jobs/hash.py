"""spark-submit entry point; `--help` lists the options. The work is in dupelake.jobs.hash."""

import sys

from dupelake.jobs.hash import main

if __name__ == "__main__":
    sys.exit(main())
