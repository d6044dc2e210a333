#!/usr/bin/env bash
# Submits a job of fedsim with what site.env says.
set -euo pipefail

usage() {
    cat <<'TEXT'
slurm/submit.sh [--dry-run] [options of sbatch ...] slurm/train.sbatch|slurm/cpu.sbatch [arguments of fedsim ...]

  slurm/submit.sh --nodes=2 --gpus-per-node=4 slurm/train.sbatch --config configs/fed_isic2019_convnext_nano.yaml
  RANKS_PER_NODE=2 slurm/submit.sh --nodes=2 slurm/cpu.sbatch clients.count=12

The configuration is checked here, before the job waits in a queue. --dry-run says what would be submitted, and stops.
Partition, account, time and modules are in slurm/site.env. The same by hand:

  source slurm/site.env; sbatch [options of sbatch ...] slurm/train.sbatch [arguments of fedsim ...]
TEXT
}

home=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
dry=no options=() script=''
while [ $# -gt 0 ] && [ -z "$script" ]; do
    case $1 in
        --help | -h) usage; exit 0 ;;
        --dry-run) dry=yes ;;
        *.sbatch) script=$1 ;;
        *) options+=("$1") ;;
    esac
    shift
done
if [ -z "$script" ]; then
    usage >&2
    exit 2
fi

export FEDSIM_HOME=${FEDSIM_HOME:-$home}
# shellcheck source=slurm/site.env
source "$home/slurm/site.env"
# A login node has less memory than the nodes of the job.
FEDSIM_MEMORY_GB=${FEDSIM_MEMORY_GB:-inf} python "$FEDSIM_HOME/fedsim/main.py" --check "$@" >/dev/null

missing=no
if ! command -v sbatch >/dev/null; then
    missing=yes
    echo 'submit.sh: sbatch is not here: type this on a login node of your SLURM cluster, or use launch/local.sh' >&2
fi
if [ $dry = yes ]; then
    env | grep -E '^(SBATCH_|FEDSIM_|RANKS_PER_NODE=|RESTARTS=|GLOO_|NCCL_)' | sort
    grep '^#SBATCH' "$script"
    echo sbatch "${options[@]}" "$script" "$@"
    exit 0
fi
if [ $missing = yes ]; then exit 2; fi
exec sbatch "${options[@]}" "$script" "$@"
