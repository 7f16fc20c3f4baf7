# SPDX-License-Identifier: MIT
# Tell what the records of some jobs say. With "revoke", claim the absent ones, so that no driver can submit them later;
# with "clear", remove the records, since their jobs were found not to exist.
# usage: lookup.sh NONCE look|revoke|clear  <  (as a here-document) TOKEN, then WORKDIR, a line each,
# WORKDIR below rel, home or abs as in the driver's archive
nonce=$1 wish=$2 start=$(pwd)
say() { printf '%s %s\n' "$nonce" "$*"; }
host=$(uname -n)

look() {
    record=.pybatch_async/$token
    if [ "$wish" = revoke ]; then
        mkdir -p -m 700 .pybatch_async
        set -C
        printf 'revoked\n' 2> /dev/null > "$record"
        set +C
    fi
    if [ "$wish" = clear ]; then rm -f "$record"; fi
    if [ ! -e "$record" ]; then
        say absent "$token"
        return
    fi
    say is "$token" claimed
    while IFS= read -r line; do
        say is "$token" "$line"
        case $line in
            "begin "*" $host "*) driver=${line#begin }; kill -0 "${driver%% *}" 2> /dev/null && say alive "$token" ;;
        esac
    done < "$record"
    for run in "$record".[0-9]*; do
        if [ -r "$run" ] && read -r line < "$run"; then say run "$token" "$line"; fi
    done
}

find_workdir() {
    case $directory in
        rel/*) directory=$start/${directory#rel/} ;;
        home/*) directory=$HOME/${directory#home/} ;;
        *) directory=/${directory#abs/} ;;
    esac
    if [ "$wish" = revoke ]; then mkdir -p -- "$directory" 2> /dev/null; fi
    cd -- "$directory" 2> /dev/null
}

say now "$(date +%s)"
say host "$host"
while IFS= read -r token && IFS= read -r directory; do
    if find_workdir; then
        say job "$token" "$PWD"
        look
    else
        say absent "$token"
    fi
    cd "$start" || exit
done
say end
