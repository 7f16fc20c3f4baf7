# SPDX-License-Identifier: MIT
# Cancel jobs, noting the wish beside each job's record first: a task that never started leaves no other trace.
# usage: cancel.sh NONCE ID...  <  (as a here-document) TOKEN, then INDEX or "all", then WORKDIR, a line each
nonce=$1
shift
printf '%s begin\n' "$nonce"
while IFS= read -r token && IFS= read -r index && IFS= read -r directory; do
    printf '%s\n' "$index" 2> /dev/null >> "$directory/.pybatch_async/$token.cancel"
done
scancel "$@" < /dev/null 2>&1
printf '%s rc %s\n' "$nonce" "$?"
