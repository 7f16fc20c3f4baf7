# SPDX-License-Identifier: MIT
# Print what jobs have recorded of themselves, the files .pybatch_async/TOKEN[-PART].INDEX, and the wishes to cancel them.
# usage: records.sh NONCE  <  (as a here-document) TOKEN, then WORKDIR, a line each
nonce=$1
while IFS= read -r token && IFS= read -r directory; do
    for file in "$directory/.pybatch_async/$token".* "$directory/.pybatch_async/$token"-*.*; do
        case $file in
            *.cmd | *.tmp) continue ;;
        esac
        while IFS= read -r line; do
            printf '%s run %s %s %s\n' "$nonce" "$token" "${file##*.}" "$line"
        done 2> /dev/null < "$file"
    done
done
printf '%s end\n' "$nonce"
