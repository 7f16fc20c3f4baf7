# SPDX-License-Identifier: MIT
# Submit the jobs of an unpacked archive, each at most once, whatever happens to the connection meanwhile.
# usage: driver.sh NONCE DIRECTORY      where DIRECTORY holds the archive's members and is removed at the end.
#
# Every line of the answer starts with the nonce, since a login may print things of its own. For each job:
#   NONCE job TOKEN WORKDIR      then the lines of its record, each as   NONCE is TOKEN LINE
# The record .pybatch_async/TOKEN in the work directory is created by exactly one driver (O_EXCL), which then alone runs
# sbatch; sbatch itself writes its id there, so that the id is kept even if this driver is killed in between.
trap '' HUP INT TERM PIPE
nonce=$1 spool=$2 start=$(pwd)
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
    case $said in
        *'Unable to contact slurm controller'*'connect failure'*) ;;
        *'ocket timed out'* | *'send/recv'* | *'ero Bytes were transmitted'* | *'nable to contact'*) return ;;
    esac
    if [ "$code" -lt 128 ]; then
        rm -f "$record" "$record.cmd"
    fi
}

submit() {
    record=.pybatch_async/$token
    set -C
    if printf 'begin %s %s %s\n' "$$" "$host" "$(date +%s)" 2> /dev/null > "$record"; then
        set +C
        after=
        if [ "$chain" != - ]; then after=$(after "$chain"); fi
        # shellcheck disable=SC2086  # the options are several words on purpose
        sbatch --parsable --chdir "$PWD" $options $after "$record.cmd" < /dev/null >> "$record" 2>&1
        code=$?
        printf 'rc %s\n' "$code" >> "$record"
        show
        if [ "$code" -ne 0 ]; then judge; fi
    elif [ -e "$record" ]; then
        set +C
        show
    else
        set +C
        say failed "$token" "the work directory $PWD can not be written to (no permission, disk full or over quota)"
    fi
}

# A part of an array that was split to honour max_simul_jobs starts after the part before it.
after() {
    if [ -r ".pybatch_async/$1" ]; then
        sed -n 's/^\([0-9][0-9]*\)\(;.*\)\{0,1\}$/--dependency=afterany:\1/p' ".pybatch_async/$1"
    fi
}

if [ ! -e "$spool/.pybatch_async.end" ]; then
    say cut
    rm -rf "$spool"
    exit 0
fi
if ! command -v sbatch > /dev/null 2>&1; then
    say nosbatch "$PATH"
    rm -rf "$spool"
    exit 0
fi
host=$(uname -n)
cd "$spool" || exit
xargs -0 mkdir -p -- < directories 2>> errors
xargs -0 chmod 700 -- < private 2>> errors
while IFS= read -r blob && IFS= read -r directory; do
    cp -R -- "$blob" "$directory/" 2>> errors
done < copies
while read -r token chain options && IFS= read -r directory; do
    case $directory in
        rel/*) path=$start/${directory#rel/} ;;
        home/*) path=$HOME/${directory#home/} ;;
        *) path=/${directory#abs/} ;;
    esac
    if cd -- "$path" 2> /dev/null; then
        say job "$token" "$PWD"
        submit
    else
        say failed "$token" "the work directory $path can not be created: $(grep -F -m 1 -- "${directory%/*}" "$spool/errors")"
    fi
done < "$spool/jobs"
rm -rf "$spool"
say end
