# SPDX-License-Identifier: MIT
# Print the site's settings.
# usage: config.sh NONCE
printf '%s begin\n' "$1"
scontrol show config 2>&1 < /dev/null
printf '%s rc %s\n' "$1" "$?"
