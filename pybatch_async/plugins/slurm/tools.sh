# SPDX-License-Identifier: MIT
# Find Slurm's commands and make their answers independent of the user's settings. POSIX sh, read before each script.
case $(set) in # most users have none of these, and what the shell does itself costs no process
    *SQUEUE_* | *SACCT_* | *SBATCH_* | *SCANCEL_*)
        for name in $(env | sed -nE 's/^((SQUEUE|SACCT|SBATCH|SCANCEL)_[A-Za-z0-9_]*)=.*/\1/p'); do
            unset "$name"
        done
        ;;
esac
unset SLURM_CLUSTERS SLURM_JSON SLURM_YAML
export LC_ALL=C SLURM_TIME_FORMAT=%s SLURM_BITSTR_LEN=0
if ! command -v sbatch > /dev/null 2>&1; then
    # A site may put Slurm on the PATH of login shells only.
    login=$(bash -lc 'printf "\nPATH:%s\n" "$PATH"' 2> /dev/null < /dev/null | sed -n 's/^PATH://p')
    PATH=$PATH:$login:/usr/local/bin:/opt/slurm/bin:/usr/local/slurm/bin:/opt/slurm/current/bin
    export PATH
fi
