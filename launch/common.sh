# shellcheck shell=bash
# What the scripts beside this one share.

home=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

default_ranks() { # HOSTS [arguments of fedsim ...]: one per GPU, or per core where there is none, at most one per client
    PYTHONPATH=$home${PYTHONPATH:+:$PYTHONPATH} python -m fedsim.ranks --hosts "$@"
}

check() { # a mistake in the configuration is reported once, instead of by every attempt
    python "$home/fedsim/main.py" --check "$@" >/dev/null
}

# Under nohup: torchrun would take a hangup as an order to stop all the same.
if [ -n "$(trap -p HUP)" ]; then export TORCHELASTIC_SIGNALS_TO_HANDLE=SIGTERM,SIGINT,SIGQUIT; fi
