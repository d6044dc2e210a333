#!/bin/sh
# Measures every table of this folder that needs no GPU and no pre-trained model, and writes the pages again.
# About 15 minutes on two cores, which nothing else should use. PYTHON must have the extra "peers" (byzfl, flwr, psutil):
#   PYTHON=/path/to/venv/bin/python docs/benchmarks/measure.sh
set -eu
cd "$(dirname "$0")/../.."
out=docs/benchmarks

measure() { # name of the JSON, then the benchmark's arguments
    name=$1
    shift
    echo "== $name: $*"
    "${PYTHON:-python}" -m fedsim.benchmark "$@" --json "$out/$name.json"
}

# First those that start several ranks: what runs before them counts as load.
measure gather gather --threads 1                                                                              # 0.3 min
measure broadcast broadcast --threads 1                                                                        # 0.3 min
measure sharded sharded --clients 10 --repeats 3 --threads 1                                                   # 1 min
measure aggregators aggregators --threads 1 --repeats 2 --png "$out/aggregators.png"                           # 2 min
measure aggregators_compiled aggregators --threads 1 --repeats 2 --compile-kernels \
    --names cwmed cwtm meamed bulyan ties lasa signsgd_mv fedseca                                              # 2 min
measure attacks attacks --threads 1 --repeats 1 --png "$out/attacks.png"                                       # 1.5 min
measure attacks_probing_krum attacks --threads 1 --repeats 1 --aggregator krum \
    --names min_max agr_tailored opt_alie opt_ipm worst_of                                                     # 0.3 min
measure attacks_probing_fedseca attacks --threads 1 --repeats 1 --aggregator fedseca --names agr_tailored      # 0.5 min
measure aggregators_k7 aggregators --threads 1 --repeats 1 --clients 7 --columns 5_000_000                     # 0.4 min
measure aggregators_k50 aggregators --threads 1 --repeats 1 --clients 50 --columns 1_000_000                   # 0.5 min
measure round round --threads 1 --repeats 5                                                                    # 0.3 min
measure scaling scaling --repeats 2                                                                            # 1.5 min
measure peers peers --rounds 10 --repeats 2                                                                    # 2 min
measure grids grids --rounds 10 --repeats 1                                                                    # 1.5 min
"${PYTHON:-python}" -m fedsim.docs
