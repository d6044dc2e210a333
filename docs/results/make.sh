#!/bin/sh
# Runs the sweeps behind this folder and writes its tables and figures again, then copies the tables into the pages.
# What has been run is not run again, and what was stopped goes on. The times are of two cores.
set -eu
cd "$(dirname "$0")/../.."
out=docs/results
only=

sweep() {
    "${PYTHON:-python}" -m fedsim.sweep "configs/sweeps/$1.yaml" $only || [ $? = 1 ] # a cell that diverged
}

show() { # sweep, then the report's arguments
    name=$1
    shift
    sweep "$name"
    "${PYTHON:-python}" -m fedsim.report "runs/$name" --to "$out/$name" "$@"
    cp "runs/$name/results.csv" "$out/$name/"
}

also() { # sweep, name, then the report's arguments: its table alone
    name=$1 table=$2
    shift 2
    "${PYTHON:-python}" -m fedsim.report "runs/$name" --to "runs/$name/report-$table" "$@"
    cp "runs/$name/report-$table/tables/table.md" "$out/$name/tables/$table.md"
}

show tune_mnist5k --metric validation.accuracy --at last:5                       # 3 minutes
show mnist5k_grid                                                                # 60 minutes
also mnist5k_grid detection --metric server.detection_auc --at last:20
show mnist5k_fedseca_parts --reference fedseca                                   # 20 minutes
show mnist5k_other_attacks                                                       # 8 minutes
show mnist5k_byzantine_share                                                     # 11 minutes
show mnist5k_clients                                                             # 9 minutes
show mnist5k_heterogeneity                                                       # 6 minutes
show mnist5k_imbalance                                                           # 9 minutes
# These need data: ../../configs/cifar10_small_resnet8.yaml and fed_isic_small_squeezenet.yaml say which, and where.
show tune_cifar10_small --metric validation.accuracy                             # 3 minutes
only="--only seed=1,2 --only aggregator=fedavg,cwtm,rfa,centered_clipping,fedseca"
sweep cifar10_small_grid                                                         # 30 minutes
only="--only seed=0"
show cifar10_small_grid                                                          # 35 minutes
only=
show cifar10_small_fedseca_parts --reference fedseca                             # 40 minutes
show tune_fed_isic_small --metric validation.balanced_accuracy --at last:5       # 5 minutes
only="--only seed=1,2 --only aggregator=fedavg,cwtm,rfa,centered_clipping,fedseca"
sweep fed_isic_small_grid                                                        # 90 minutes
only="--only seed=0"
show fed_isic_small_grid --metric balanced_accuracy --at last:5                  # 110 minutes
also fed_isic_small_grid macro_f1 --metric macro_f1 --at last:5
only=
show fed_isic_small_fedseca_parts --metric balanced_accuracy --at last:5 --reference fedseca     # 35 minutes

# Clients of one or two classes in six times as many rounds: 6 minutes.
"${PYTHON:-python}" -m fedsim.sweep configs/sweeps/mnist5k_heterogeneity.yaml --only data.partition.alpha=0.1 \
    --only attack=none rounds=60 output_dir=runs/sixty_rounds
"${PYTHON:-python}" -m fedsim.report runs/sixty_rounds/mnist5k_heterogeneity --to "$out/mnist5k_sixty_rounds"
cp runs/sixty_rounds/mnist5k_heterogeneity/results.csv "$out/mnist5k_sixty_rounds/"

# What a sparsity of 0.9 leaves of an update.
"${PYTHON:-python}" "$out/top_tenth.py" >"$out/top_tenth.md"

# Two cells of the grid after two rounds, which tests/integration/test_stored_results.py runs again.
"${PYTHON:-python}" -m fedsim.sweep configs/sweeps/mnist5k_grid.yaml --only attack=label_flip,min_max \
    --only aggregator=fedseca --only seed=0 rounds=2 output_dir=runs/two_rounds
"${PYTHON:-python}" -m fedsim.report runs/two_rounds/mnist5k_grid --to "$out/mnist5k_two_rounds"
cp runs/two_rounds/mnist5k_grid/results.csv "$out/mnist5k_two_rounds/"

"${PYTHON:-python}" -m fedsim.docs
