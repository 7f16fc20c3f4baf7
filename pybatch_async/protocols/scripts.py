# SPDX-License-Identifier: MIT
"""The POSIX sh that runs on a host to copy, write and read files; it needs tar, find, mv and cat there.

Each script takes a random mark first. It prints the mark on a line of standard output before the answer (an rc file
may print too), and on standard error, with a word, when it gives up; `verdict` reads that word.
"""

from __future__ import annotations

GAVE_UP = 3

# Every path becomes absolute, so that none can be read as an option ("-rf") and `cd` changes no meaning.
_PROLOGUE = r"""
LC_ALL=C; export LC_ALL
mark=$1; shift
give_up() { printf '%s %s\n' "$mark" "$1" >&2; exit 3; }
absolute() {
    case $1 in
        "~") path=$HOME ;;
        "~/"*) path=$HOME/${1#"~/"} ;;
        /*) path=$1 ;;
        *) path=$PWD/$1 ;;
    esac
}
"""

# On a cut connection standard input ends and the script goes on to its own end; the signals are for cancellation.
_TEMPORARY = r"""
temporary() {
    part=$into/.pybatch_async.$mark.$$
    trap 'rm -rf -- "$part" 2>/dev/null || { chmod -R u+rwX -- "$part"; rm -rf -- "$part"; }' EXIT
    trap 'exit 1' HUP INT TERM PIPE
}
"""

READ = (
    _PROLOGUE
    + r"""
absolute "$1"
[ -e "$path" ] || give_up missing
[ -d "$path" ] && give_up is_directory
printf '%s\n' "$mark"
cat <"$path" || give_up failed
"""
)

# Arguments: path, size in bytes.
CREATE = (
    _PROLOGUE
    + _TEMPORARY
    + r"""
absolute "$1"
[ -d "$path" ] && give_up is_directory
case $path in */) give_up slash ;; esac
into=${path%/*}/
[ -d "$into" ] || give_up parent
temporary
cat >"$part" || give_up failed
[ "$(wc -c <"$part")" -eq "$2" ] || give_up cut
mv -f -- "$part" "$path" || give_up failed
"""
)


def verdict(mark: str, stderr: str) -> tuple[str, str]:
    """Split what a script printed on standard error.

    :returns: the word it gave up with, "" for none; the rest: the system's own words.
    """
    word, rest = "", []
    for line in stderr.splitlines():
        if line.startswith(mark):
            word = line[len(mark) :].strip()
        else:
            rest.append(line)
    return word, "\n".join(rest).strip()
