#!/bin/bash
# Starts the function, or the command given here, under the MPS daemon that mps.toml names.
set -euo pipefail
cd "$(dirname "$0")"
export CUDA_MPS_PIPE_DIRECTORY="${CUDA_MPS_PIPE_DIRECTORY:-/tmp/nvidia-mps}/gpupredict/train-resnet"
if [ -f ../.env ]; then set -a; . ../.env; set +a; fi
if [ -f ../handler.py ]; then
  exec python ../handler.py "$@"
elif [ "$#" -gt 0 ]; then
  cd "$OLDPWD"
  exec "$@"
fi
echo "usage: run.sh COMMAND [ARGUMENT...], such as: run.sh python train.py" >&2
exit 2
