"""spark-submit entry point; `--help` lists the options. The work is in dupelake.jobs.nightly."""

import sys

from dupelake.jobs.nightly import main

if __name__ == "__main__":
    sys.exit(main())
