"""`python -m jupyter_gpupredict.frontends.cli`: the command where its script is not on the path."""

import sys

from jupyter_gpupredict.frontends.cli import main

if __name__ == "__main__":
    sys.exit(main())
