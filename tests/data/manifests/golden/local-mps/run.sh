#!/bin/bash
# Starts the function, or the command given here, under the MPS daemon that mps.env names.
set -euo pipefail
cd "$(dirname "$0")"
set -a; . ./mps.env; set +a
if [ -f ../.env ]; then set -a; . ../.env; set +a; fi
if [ -f ../handler.py ]; then
  exec python ../handler.py "$@"
elif [ "$#" -gt 0 ]; then
  cd "$OLDPWD"
  exec "$@"
fi
echo "usage: run.sh COMMAND [ARGUMENT...], such as: run.sh python train.py" >&2
exit 2
