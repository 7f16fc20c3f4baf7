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
        *'ocket timed out'* | *'send/recv'* | *'ero Bytes'* | *'ommunication '*' failure'* | *'essage '*' failure'*) return ;;
        *'Unexpected message received'* | *'Insane message'* | *'Header lengths'* | *'Protocol authentication'*) return ;;
        *'(send failure)'* | *'(receive failure)'* | *'(shutdown failure)'*) return ;;
        *'Connection reset'* | *'Broken pipe'* | *'onnection timed out'* | *'Unspecified error'*) return ;;
        *'(connect failure)'*) ;;
        *'nable to contact'*) return ;;
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
    elif claim; then
        if printf 'begin %s %s %s\n' "$$" "$host" "$began" 2> /dev/null >> "$record"; then
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
    after=
    if [ "$chain" != - ]; then after=$(after "$chain"); fi
    # shellcheck disable=SC2086  # the options are several words on purpose
    sbatch --parsable --chdir "$PWD" $options $after "$spool/own/.pybatch_async/$token.cmd" < /dev/null >> "$record" 2>&1
    code=$?
    printf 'rc %s\n' "$code" >> "$record"
    show
    if [ "$code" -ne 0 ]; then judge; fi
}

# What tar, mkdir and cp had to say of this job's files: a job must not start on files that are not whole.
missing_files() {
    grep -F -m 1 -e "$directory/" "$spool/errors"
}

# A part of an array that was split to honour max_simul_jobs starts after the part before it.
after() {
    if [ -r ".pybatch_async/$1" ]; then
        sed -n 's/^\([0-9][0-9]*\)\(;.*\)\{0,1\}$/--dependency=afterany:\1/p' ".pybatch_async/$1"
    fi
}

if ! command -v sbatch > /dev/null 2>&1; then
    say nosbatch "$PATH"
    rm -rf "$spool"
    exit 0
fi
host=$(uname -n) began=$(date +%s)
cd "$spool" || exit
xargs -0 mkdir -p -- < own/directories 2>> errors
xargs -0 chmod 700 -- < own/private 2> /dev/null
while IFS= read -r blob && IFS= read -r directory; do
    cp -R -- "$blob" "$directory/" 2>> errors
done < own/copies
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
done < "$spool/own/jobs"
rm -rf "$spool"
say end
