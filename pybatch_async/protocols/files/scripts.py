# SPDX-License-Identifier: MIT
"""The POSIX sh that runs on a host to copy, write and read files; it needs tar, find, mv and cat there.

Each script takes a random mark first. It prints the mark on a line of standard output before the answer (an rc file
may print too), and on standard error, with a word, when it gives up; `verdict` reads that word.
"""

from __future__ import annotations

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
    part=$into/.pybatch_async.part.$mark.$$
    trap clean EXIT
    trap 'clean; exit 1' HUP INT TERM PIPE
}
# A signal goes to the whole process group: it must not end the `rm` of a clean-up that has begun.
clean() {
    trap '' HUP INT TERM PIPE
    rm -rf -- "$part" 2>/dev/null || { chmod -R u+rwX -- "$part"; rm -rf -- "$part"; }
}
"""

READ = (
    _PROLOGUE
    + r"""
absolute "$1"
[ -e "$path" ] || give_up missing
[ -d "$path" ] && give_up is_directory
[ -f "$path" ] || give_up special
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
[ -e "$path" ] && ! [ -f "$path" ] && give_up special
case $path in */) give_up slash ;; esac
into=${path%/*}/
[ -d "$into" ] || give_up parent
temporary
cat >"$part" || give_up failed
[ "$(wc -c <"$part")" -eq "$2" ] || give_up cut
mv -f -- "$part" "$path" || give_up failed
"""
)


# Arguments: destination, number of entries. Standard input: an archive of tree/NAME… and the end marker.
UPLOAD = (
    _PROLOGUE
    + _TEMPORARY
    + r"""
refuse() { printf '%s\n' "$1" >&2; return 1; }
is_directory() { [ -d "$1" ] && ! [ -L "$1" ]; }

# A directory can only be moved by who may write in it, because its ".." changes (rename(2), EACCES).
move_directory() {
    if [ -w "$1" ]; then mv -- "$1" "$2"; else chmod u+w -- "$1" && mv -- "$1" "$2" && chmod u-w -- "$2"; fi
}

# The body is a subshell, so that each level has variables of its own.
merge() (
    chmod u+rwx -- "$1" || exit 1
    cd "$1" || exit 1
    find . ! -name . -prune ! -type d -exec /bin/sh -c 'to=$1; shift; exec mv -f -- "$@" "$to/"' sh "$2" {} + || exit 1
    for name in * .[!.]* ..?*; do
        is_directory "$1/$name" || continue
        put "$1/$name" "$2/$name" || exit 1
    done
)

put() {
    if ! is_directory "$1"; then
        if [ -d "$2" ]; then refuse "$2 is a directory and would be overwritten by a file"; else mv -f -- "$1" "$2"; fi
    elif is_directory "$2"; then merge "$1" "$2"
    elif [ -e "$2" ] || [ -L "$2" ]; then refuse "$2 is no directory and would be overwritten by one"
    else move_directory "$1" "$2"
    fi
}

absolute "$1"
name=
if [ -d "$path" ]; then
    into=$path
else
    [ "$2" = 1 ] || give_up directory
    case $path in */ | */. | */..) give_up slash ;; esac
    into=${path%/*}/ name=${path##*/}
    [ -d "$into" ] || give_up parent
fi
temporary
mkdir -m 700 -- "$part" || give_up failed
tar -x -o -f - -C "$part" || give_up failed
[ -e "$part/.pybatch_async.end" ] || give_up cut
for entry in "$part"/tree/* "$part"/tree/.[!.]* "$part"/tree/..?*; do
    [ -e "$entry" ] || [ -L "$entry" ] || continue
    put "$entry" "$into/${name:-${entry##*/}}" || give_up failed
done
"""
)

# Arguments: the entries. A name that ends with a slash, "." or ".." stands for the directory itself, by its own name.
DOWNLOAD = (
    _PROLOGUE
    + r"""
index=0 count=$#
for entry in "$@"; do
    absolute "$entry"
    [ -e "$path" ] || [ -L "$path" ] || give_up "missing:$index"
    [ -f "$path" ] || [ -d "$path" ] || [ -L "$path" ] || give_up "special:$index"
    within=
    while :; do
        case $path in
            */) path=${path%/} within=/. ;;
            */.) path=${path%/.} within=/. ;;
            *) break ;;
        esac
    done
    case $path in
        */..)
            path=$(cd "$path" && pwd -P && echo x) || give_up failed
            path=${path%?x} within=/.
            ;;
    esac
    [ "${path##*/}" ] || give_up root
    parent=${path%/*}/
    set -- "$@" -C "$parent" "./${path##*/}$within"
    index=$((index + 1))
done
shift "$count"
# GNU tar reads backslashes in the names it is given as escapes, other tars do not and know no such option.
case $* in *\\*) tar --version 2>/dev/null | grep -q GNU && set -- --no-unquote "$@" ;; esac
printf '%s\n' "$mark"
exec tar -c -f - "$@"
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
