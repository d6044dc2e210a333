# shellcheck shell=bash
# What the scripts beside this one share.

home=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

default_ranks() { # one per GPU, or per core where there is none
    local gpus=0
    if command -v nvidia-smi >/dev/null; then gpus=$(nvidia-smi --list-gpus 2>/dev/null | wc -l); fi
    if [ "$gpus" -gt 0 ]; then echo "$gpus"; else nproc; fi
}

check() { # a mistake in the configuration is reported once, instead of by every attempt
    python "$home/fedsim/main.py" --check "$@" >/dev/null
}

# Under nohup: torchrun would take a hangup as an order to stop all the same.
if [ -n "$(trap -p HUP)" ]; then export TORCHELASTIC_SIGNALS_TO_HANDLE=SIGTERM,SIGINT,SIGQUIT; fi
