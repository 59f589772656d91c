"""spark-submit entry point; `--help` lists the options. The work is in dupelake.jobs.maintain."""

import sys

from dupelake.jobs.maintain import main

if __name__ == "__main__":
    sys.exit(main())
