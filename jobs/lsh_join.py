"""spark-submit entry point; `--help` lists the options. The work is in dupelake.jobs.lsh_join."""

import sys

from dupelake.jobs.lsh_join import main

if __name__ == "__main__":
    sys.exit(main())
