"""spark-submit entry point; `--help` lists the options. The work is in dupelake.jobs.forget."""

import sys

from dupelake.jobs.forget import main

if __name__ == "__main__":
    sys.exit(main())
