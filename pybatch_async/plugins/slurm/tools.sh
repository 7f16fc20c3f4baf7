# SPDX-License-Identifier: MIT
# Find Slurm's commands and make their answers independent of the user's settings. POSIX sh, read before each script.
for name in $(env | sed -n -e 's/^\(SQUEUE_[A-Za-z0-9_]*\)=.*/\1/p' -e 's/^\(SACCT_[A-Za-z0-9_]*\)=.*/\1/p' \
    -e 's/^\(SBATCH_[A-Za-z0-9_]*\)=.*/\1/p' -e 's/^\(SCANCEL_[A-Za-z0-9_]*\)=.*/\1/p'); do
    unset "$name"
done
unset SLURM_CLUSTERS SLURM_JSON SLURM_YAML
export LC_ALL=C SLURM_TIME_FORMAT=%s SLURM_BITSTR_LEN=0
if ! command -v sbatch > /dev/null 2>&1; then
    # A site may put Slurm on the PATH of login shells only.
    login=$(bash -lc 'printf "\nPATH:%s\n" "$PATH"' 2> /dev/null < /dev/null | sed -n 's/^PATH://p')
    PATH=$PATH:$login:/usr/local/bin:/opt/slurm/bin:/usr/local/slurm/bin:/opt/slurm/current/bin
    export PATH
fi
