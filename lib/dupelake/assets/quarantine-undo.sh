if [ $# -ne 0 ]; then
    echo "usage: sh $0" >&2
    exit 2
fi

# back NUMBER PATH DIGEST [PLACE]: whatever its bytes are now, the file goes back.
back() {
    from=$quarantine/files${4-$2} between=${2%/*}/.dupelake-$3-$1
    if ! is_there "$from" && ! is_there "$2"; then from=$quarantine/moving${4-$2}; fi  # the move was interrupted
    if is_there "$from" && is_there "$2"; then refuse "a file of this name is there again" "$2"
    elif is_there "$2"; then n_before=$((n_before + 1))
    elif ! is_there "$from" && ! is_there "$between"; then refuse "the quarantine lacks it" "$2"
    elif carry "$from" "$between" "$2"; then n_done=$((n_done + 1))
    else refuse "$why" "$2"; fi
}
