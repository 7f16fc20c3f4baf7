# SPDX-License-Identifier: MIT
# Submit the jobs of an unpacked archive, each at most once, whatever happens to the connection meanwhile.
# usage: driver.sh NONCE DIRECTORY      where DIRECTORY holds the archive's members and is removed at the end.
#
# Every line of the answer starts with the nonce, since a login may print things of its own. For each job:
#   NONCE job TOKEN WORKDIR      then the lines of its record, each as   NONCE is TOKEN LINE
#   NONCE failed TOKEN REASON    it was not tried
#   NONCE alive TOKEN            its sbatch has not answered and goes on by itself; lookup.sh tells what becomes of it
# then NONCE stopped, if what has not been told of was not begun since the controller seems to be sick, and NONCE end.
#
# The record .pybatch_async/TOKEN in the work directory is created by exactly one driver (O_EXCL), which then alone runs
# sbatch; sbatch itself writes its id there, so that the id is kept even if this driver is killed in between.
trap '' HUP INT TERM PIPE
nonce=$1 spool=$2 start=$(pwd)
tick=${PYBATCH_ASYNC_TICK:-5} # seconds; the three bounds below count in ticks
patience=7 # an sbatch that has not answered by then holds up nobody any more,
shorter=3 # nor does another one that hangs meanwhile
lifetime=96 # of this driver; an sbatch that still hangs then is killed, and its job looked for by its token
most=3 # so many sbatch that hang, or that reach no controller one after the other, are enough for a sick controller
say() { printf '%s %s\n' "$nonce" "$*"; }

show() {
    said=
    while IFS= read -r line; do
        say is "$token" "$line"
        said="$said $line"
    done < "$record"
}

# A refusal leaves no trace, so that the same job can be submitted again. Anything else that failed may have made a job.
judge() {
    silent=$((silent + 1))
    case $said in
        *'ocket timed out'* | *'send/recv'* | *'ero Bytes'* | *'ommunication '*' failure'* | *'essage '*' failure'*) return ;;
        *'Unexpected message received'* | *'Insane message'* | *'Header lengths'* | *'Protocol authentication'*) return ;;
        *'(send failure)'* | *'(receive failure)'* | *'(shutdown failure)'*) return ;;
        *'Connection reset'* | *'Broken pipe'* | *'onnection timed out'* | *'Unspecified error'*) return ;;
        *'(connect failure)'*) ;;
        *'nable to contact'*) return ;;
        *) silent=0 ;;
    esac
    case $code$said in
        255*'nvalid --'* | 255*'is not a valid'* | 255*'nrecognized option'* | 255*'requires an argument'*) code=1 ;;
        255*'sbatch --help'* | 255*'only permitted by root'*) code=1 ;; # an option it does not understand
    esac
    if [ "$code" -lt 128 ]; then
        rm -f "$record"
    fi
}

# Tell whether this driver, and no other one, is to submit the job. The claim itself takes no room on the disk.
claim() {
    set -C
    printf '' 2> /dev/null > "$record"
    claimed=$?
    set +C
    return "$claimed"
}

submit() {
    record=.pybatch_async/$token
    if [ -e "$record" ]; then
        show
    elif [ -s "$spool/errors" ] && lack=$(missing_files); then
        say failed "$token" "its files could not be written: $lack"
    elif [ "$chain" != - ] && ! after=$(after); then
        return # its time comes when the part before it has an id
    elif claim; then
        if printf '%s\n' "$intent" 2> /dev/null >> "$record"; then
            run_sbatch
        else
            rm -f "$record"
            say failed "$token" "nothing can be written into the work directory $PWD (disk full, or over quota)"
        fi
    elif [ -e "$record" ]; then
        show
    else
        say failed "$token" "the work directory $PWD can not be written to (no permission, disk full or over quota)"
    fi
}

run_sbatch() {
    # shellcheck disable=SC2086  # the options are several words on purpose
    sbatch --parsable --chdir "$PWD" $options $after "$spool/own/.pybatch_async/$token.cmd" \
        < /dev/null >> "$record" 2>&1 4>&- &
    wait_for "$!" "$patience"
    if [ -n "$code" ]; then
        conclude
    else
        eval "token_$!=\$token record_$!=\$PWD/\$record"
        hanging="$hanging $!" patience=$shorter silent=$((silent + 1))
    fi
}

# Wait for a process, so many ticks at most: `code` becomes its exit code, or empty if it goes on.
wait_for() {
    code='' last=$((ticks + $2))
    while [ "$ticks" -lt "$last" ]; do
        seen=$ticks
        wait "$1"
        code=$?
        if [ "$ticks" = "$seen" ]; then return; fi
        if ! kill -0 "$1" 2> /dev/null; then # it has ended; its code may have been told already, or not yet
            wait "$1"
            again=$?
            if [ "$again" != 127 ]; then code=$again; fi
            return
        fi
        code=
    done
}

conclude() {
    printf 'rc %s\n' "$code" >> "$record"
    show
    if [ "$code" -ne 0 ]; then judge; else silent=0; fi
}

# Take up one that went on by itself. Its record is another's if it was found to be nobody's in the meantime.
resume() {
    eval "token=\$token_$1 record=\$record_$1"
    IFS= read -r line 2> /dev/null < "$record" && [ "$line" = "$intent" ]
}

# Tell what became of those that went on by themselves, and have ended.
look_after() {
    waited=$hanging hanging=
    for pid in $waited; do
        if kill -0 "$pid" 2> /dev/null; then
            hanging="$hanging $pid"
        else
            wait_for "$pid" 1
            if resume "$pid"; then conclude; fi
        fi
    done
}

is_sick() {
    # shellcheck disable=SC2086  # counts the words
    set -- $hanging
    [ "$#" -ge "$most" ] || [ "$silent" -ge "$most" ]
}

# Wait for those that hang, long after the answer has gone: each leaves its word in its record, as all others do.
see_to_the_end() {
    for pid in $hanging; do
        wait_for "$pid" "$((lifetime - ticks))"
        if [ -z "$code" ]; then
            kill -KILL "$pid"
            wait_for "$pid" "$patience"
        fi
        if resume "$pid" && [ -n "$code" ]; then conclude; fi
    done
}

# What tar, mkdir and cp had to say of this job's files: a job must not start on files that are not whole.
missing_files() {
    grep -F -m 1 -e "$directory/" "$spool/errors"
}

# A part of an array that was split to honour max_simul_jobs starts after the part before it.
after() {
    sed -n 's/^\([0-9][0-9]*\)\(;.*\)\{0,1\}$/--dependency=afterany:\1/p' ".pybatch_async/$chain" 2> /dev/null | grep .
}

lay_out() {
    xargs -0 mkdir -p -- < own/directories 2>> errors
    xargs -0 chmod 700 -- < own/private 2> /dev/null
    while IFS= read -r blob && IFS= read -r directory; do
        cp -R -- "$blob" "$directory/" 2>> errors
    done < own/copies
}

# Submit the jobs one after the other; fail where there is no use in going on.
submit_all() {
    while read -r token chain options && IFS= read -r directory; do
        if [ -n "$hanging" ]; then look_after; fi
        if is_sick; then return 1; fi
        case $directory in
            rel/*) path=$start/${directory#rel/} ;;
            home/*) path=$HOME/${directory#home/} ;;
            *) path=/${directory#abs/} ;;
        esac
        after=
        if cd -- "$path" 2> /dev/null; then
            say job "$token" "$PWD"
            submit
        else
            say failed "$token" "the work directory $path can not be created: $(grep -F -m 1 -- "${directory%/*}" "$spool/errors")"
        fi
    done < "$spool/own/jobs"
}

# Tell of those that hang. From now on this driver is at work on them alone, for all who look.
tell_hanging() {
    : > "$spool/own/hanging"
    for pid in $hanging; do
        if resume "$pid"; then
            show
            say alive "$token"
            printf '%s -\n' "$token" >> "$spool/own/hanging"
        fi
    done
    mv -f "$spool/own/hanging" "$spool/own/jobs"
}

# What drivers that were killed have left behind goes after a day. No link is followed, no other user's is touched.
sweep() {
    set -- "${spool%.*}".????????
    if [ -d "$1" ]; then find "$@" -prune -type d -user "$(id -u)" -mtime +0 -exec rm -rf -- {} +; fi
}

# Interrupt the wait for an sbatch at each tick, as long as the driver lives.
tell_time='trap "kill -KILL \$s; exit" USR2
while sleep "$1" & s=$!; wait "$s"; grep -qs "$0" "/proc/$PPID/cmdline"; do kill -s USR1 "$PPID"; done'

drive() {
    ticks=0 silent=0 hanging=
    trap 'ticks=$((ticks + 1))' USR1
    /bin/sh -c "$tell_time" "$nonce" "$tick" > /dev/null 2>&1 4>&- &
    clock=$!
    host=$(uname -n) began=$(date +%s)
    intent="begin $$ $host $began"
    cd "$spool" || exit
    lay_out
    if ! submit_all; then say stopped; fi
    if [ -n "$hanging" ]; then tell_hanging; else rm -rf "$spool"; fi
    say end
    exec > /dev/null 2>&1 4>&- # the answer is whole: who waits for it need not wait for what follows
    see_to_the_end
    kill -s USR2 "$clock"
    rm -rf "$spool"
    sweep
}

if ! command -v sbatch > /dev/null 2>&1; then
    say nosbatch "$PATH"
    rm -rf "$spool"
    exit 0
fi
# Two processes: this one ends with the answer, the other one goes on where an sbatch hangs.
exec 3>&1
: "$({ exec 4>&1 >&3 3>&-; drive; } &)"
