# SPDX-License-Identifier: MIT
# Print what squeue knows of all the user's jobs, one request whatever their number.
# usage: poll.sh NONCE FORMAT
printf '%s begin\n' "$1"
squeue -h --me -t all -O "$2" 2>&1 < /dev/null
printf '%s rc %s\n' "$1" "$?"
