# SPDX-License-Identifier: MIT
# Print what the accounting knows of jobs, one request whatever their number.
# usage: account.sh NONCE FIELDS START IDS      with START in seconds since the epoch
# The end lies in the future, since this host's clock may be behind the controller's.
since=$(date -d "@$3" +%Y-%m-%dT%H:%M:%S 2> /dev/null) || since=now-30days
printf '%s begin\n' "$1"
if [ -n "$4" ]; then set -- "$1" "$2" "$3" "-j$4"; else set -- "$1" "$2" "$3" -X; fi
sacct -nXP -u "$(id -un)" -S "$since" -E now+2days -o "$2" "$4" 2>&1 < /dev/null
printf '%s rc %s\n' "$1" "$?"
