# SPDX-License-Identifier: MIT
# Tell what the records of some jobs say. With "revoke", claim the absent ones, so that no driver can submit them later;
# with "clear", remove the records, since their jobs were found not to exist.
# usage: lookup.sh NONCE look|revoke|clear  <  (as a here-document) TOKEN, then WORKDIR, then INTENT, a line each,
# WORKDIR below rel, home or abs as in the driver's archive, INTENT the first line of the record that is to be cleared
nonce=$1 wish=$2 start=$(pwd)
say() { printf '%s %s\n' "$nonce" "$*"; }

# Name the tokens that somebody is still at work on here: those in the lists of the drivers that run, or whose archive is
# being unpacked, and those in the arguments of an sbatch, which can outlive its driver.
at_work() {
    cat /proc/[0-9]*/cmdline 2> /dev/null | tr '\0' '\n' | sed -n \
        -e 's|^/.*/\.pybatch_async/\([0-9a-f-]*\)\.cmd$|\1|p' \
        -e 's|^\(/.*/pybatch_async\.[A-Za-z0-9]*\)/own/driver\.sh$|\1|p' \
        -e 's|^\(/.*/pybatch_async\.[A-Za-z0-9]*\)$|\1|p' | sort -u | while IFS= read -r each; do
        case $each in
            /*) sed -n 's/^\([0-9a-f-]*\) .*/\1/p' "$each/own/jobs" 2> /dev/null ;;
            *) printf '%s\n' "$each" ;;
        esac
    done | tr '\n' ' '
}

# An archive that has not grown for a minute comes through a connection that is dead, which this host may learn in hours
# only. It is given up, else its jobs could not be submitted again for so long.
end_stalled() {
    for file in $(grep -lsa '/pybatch_async\.' /proc/[0-9]*/cmdline); do
        pid=${file#/proc/} pid=${pid%/*}
        spool=$(tr '\0' '\n' 2> /dev/null < "$file" | sed -n -e '1{' -e '/tar$/!q' -e '}' -e '/^\/.*\/pybatch_async\.[A-Za-z0-9]*$/p')
        size=$(sed -n 's/^rchar: //p' "/proc/$pid/io" 2> /dev/null)
        if [ ! -O "$spool" ] || [ -z "$size" ]; then continue; fi
        if read -r before since 2> /dev/null < "$spool/arrived" && [ "$before" = "$size" ]; then
            if [ "$(($(date +%s) - since))" -ge 60 ]; then kill "$pid"; fi
        else
            printf '%s %s\n' "$size" "$(date +%s)" > "$spool/arrived"
        fi
    done
}

look() {
    record=.pybatch_async/$token
    if [ "$wish" = revoke ]; then
        mkdir -p -m 700 .pybatch_async
        set -C
        printf 'revoked\n' 2> /dev/null > "$record"
        set +C
    fi
    if [ "$wish" = clear ]; then clear_record; fi
    if [ ! -e "$record" ]; then
        say absent "$token"
        return
    fi
    say is "$token" claimed
    while IFS= read -r line; do
        say is "$token" "$line"
    done < "$record"
    for run in "$record".[0-9]*; do
        if [ -r "$run" ] && read -r line < "$run"; then say run "$token" "$line"; fi
    done
}

# Several may be about to clear the same record, one of them late, when the job was submitted anew: only one gets leave.
clear_record() {
    line=
    read -r line 2> /dev/null < "$record"
    for run in "$record".[0-9]*; do
        if [ -e "$run" ]; then return; fi
    done
    if [ "$line" = "$intent" ]; then
        set -C
        # shellcheck disable=SC2086  # the words of the line become parts of the name
        if printf '' 2> /dev/null > "$record.void.$(printf '%s.' $line)"; then rm -f "$record"; fi
        set +C
    fi
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
say host "$(uname -n)"
busy=" $(at_work)" is_alive=
while IFS= read -r token && IFS= read -r directory && IFS= read -r intent; do
    # Who is at work was asked before the record is read: a driver that ended in between has left its word there.
    case $busy in *" $token "*)
        say alive "$token"
        is_alive=1
        ;;
    esac
    if find_workdir; then
        say job "$token" "$PWD"
        look
    else
        say absent "$token"
    fi
    cd "$start" || exit
done
if [ -n "$is_alive" ]; then end_stalled; fi
say end
