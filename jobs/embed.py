"""spark-submit entry point; `--help` lists the options. The work is in dupelake.jobs.embed."""

import sys

from dupelake.jobs.embed import main

if __name__ == "__main__":
    sys.exit(main())
