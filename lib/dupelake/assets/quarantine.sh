# The functions of both scripts. POSIX sh, but for `test -ef`, which dash, bash, ksh, zsh and busybox have.
set -u
LC_ALL=C
export LC_ALL
n_done=0 n_before=0 n_refused=0

if command -v sha256sum >/dev/null 2>&1; then digest() { sha256sum <"$1"; }
elif command -v shasum >/dev/null 2>&1; then digest() { shasum -a 256 <"$1"; }
else
    echo "neither sha256sum nor shasum is installed; nothing was moved" >&2
    exit 2
fi

# Whether something has this name, a dangling link too.
is_there() { [ -e "$1" ] || [ -L "$1" ]; }

# refuse WHY PATH: the file stays where it is.
refuse() {
    n_refused=$((n_refused + 1))
    printf 'refused: %s: %s' "$1" "$2" | tr '[:cntrl:]' '?' >&2  # a name may hold control sequences of a terminal
    echo >&2
}

# is_unchanged PATH BYTES DIGEST: whether the file has the bytes that dupelake read; else `why` says what is wrong.
is_unchanged() {
    why=""
    if ! is_there "$1"; then why="it is missing"
    elif [ ! -f "$1" ]; then why="it is no regular file"
    elif [ ! -r "$1" ]; then why="it cannot be read"
    elif [ "$(wc -c <"$1")" -ne "$2" ]; then why="it has changed since dupelake read it"
    else
        case $(digest "$1") in
            "$3"*) return 0 ;;
            *) why="it has changed since dupelake read it" ;;
        esac
    fi
    return 1
}

# carry FROM BETWEEN TO: rename FROM to TO over BETWEEN, which lies on the disk of TO. If FROM lies on another disk, mv
# copies; when that is interrupted, BETWEEN holds the beginning of FROM, and the next start copies again. The folder of a
# file in / is an empty text but for the slash.
carry() {
    if is_there "$1"; then
        if is_there "$2" && ! head -c "$(($(wc -c <"$2")))" <"$1" | cmp -s - "$2"; then
            why="an earlier move left other bytes in $2"
            return 1
        fi
        if ! mkdir -p -- "${2%/*}/" "${3%/*}/" || ! mv -f -- "$1" "$2"; then
            why="it cannot be moved"
            return 1
        fi
    fi
    if is_there "$3" || ! mkdir -p -- "${3%/*}/" || ! mv -n -- "$2" "$3" || is_there "$2"; then
        why="it cannot be moved to $3; it is now $2"
        return 1
    fi
}

# end WORD WORD: what was done, in numbers; the exit code.
end() {
    echo "$n_done $1, $n_before $2, $n_refused refused"
    [ "$n_refused" -eq 0 ]
    exit
}
