if [ "${1-}" = "--dry-run" ]; then is_dry=yes word="can be moved"; elif [ $# -eq 0 ]; then is_dry="" word=moved; else
    echo "usage: sh $0 [--dry-run]" >&2
    exit 2
fi

# take PATH: move it by way of $between to $there, or only count it.
take() {
    if [ -n "$is_dry" ] || carry "$1" "$between" "$there"; then n_done=$((n_done + 1)); else refuse "$why" "$1"; fi
}

# move PATH BYTES DIGEST KEPT BYTES DIGEST [PLACE]: PLACE is PATH without parents (..), if it has some.
move() {
    there=$quarantine/files${7-$1} between=$quarantine/moving${7-$1}
    if ! is_there "$1"; then
        if is_there "$there"; then n_before=$((n_before + 1))
        elif is_there "$between" && is_unchanged "$between" "$2" "$3"; then take "$1"
        else refuse "it is missing" "$1"; fi
    elif is_there "$there"; then refuse "the quarantine has another file of this name" "$1"
    elif [ -L "$1" ]; then refuse "it is a symbolic link" "$1"
    elif ! is_unchanged "$1" "$2" "$3"; then refuse "$why" "$1"
    elif [ "$1" -ef "$4" ]; then refuse "it is the kept file under another name" "$1"
    # The kept file is read again for each of its copies: it may change between two moves.
    elif ! is_unchanged "$4" "$5" "$6"; then refuse "of the kept file $4, $why" "$1"
    else take "$1"; fi
}

if [ -z "$is_dry" ] && ! mkdir -p -- "$quarantine/files" "$quarantine/moving"; then exit 2; fi
