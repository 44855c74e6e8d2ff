#!/bin/sh
# The folders look one way: core names no FUSE, NNG, YAML or database (but for core/store), and
# config, transport and fs use core and not each other. Only the main files join them.
# Prints each include that breaks this; status 1 if there is one.

cd "$(dirname "$0")/.." || exit 2
status=0

# forbid WHY PATTERN FILE...: no file may include what matches PATTERN
forbid() {
    why=$1 pattern=$2
    shift 2
    for file in "$@"; do
        [ -f "$file" ] || continue
        if grep -nHE "^[[:space:]]*#[[:space:]]*include[[:space:]]*[<\"]($pattern)" "$file"; then
            echo "    $why"
            status=1
        fi
    done
}

# The files of a folder that are not a program's main file.
of() {
    for file in "$1"/*.c "$1"/*.h; do
        case $file in
        */main.c | */main_*.c | */main_*.h | */queuefs.c | */queued.c) ;;
        *) printf '%s\n' "$file" ;;
        esac
    done
}

# shellcheck disable=SC2046 # names of source files have no spaces
forbid "core knows neither FUSE, NNG nor YAML, and no other folder" \
    'fuse|nng/|yaml|lmdb|nats|config/|transport/|fs/' $(of core)
for file in core/store/*.[ch]; do
    forbid "a store knows its own library only" 'fuse|nng/|yaml|config/|transport/|fs/' "$file"
    case $file in
    */lmdb*) forbid "lmdb knows lmdb" 'nats' "$file" ;;
    */nats*) forbid "nats knows nats" 'lmdb' "$file" ;;
    *) forbid "only lmdb*.c and nats*.c know these" 'lmdb|nats' "$file" ;;
    esac
done
# shellcheck disable=SC2046
forbid "transport uses core only" 'fuse|yaml|lmdb|nats|config/|fs/' $(of transport)
# shellcheck disable=SC2046
forbid "fs uses core only" 'nng/|yaml|lmdb|nats|config/|transport/|core/store/' $(of fs)
# shellcheck disable=SC2046
forbid "config uses core only" 'fuse|nng/|lmdb|nats|transport/|fs/' $(of config)

[ $status = 0 ] && echo "the includes keep to the folders"
exit $status
