#!/bin/sh
# The folders look one way: mount -> put, get and service -> queue -> store, all of them -> core; the
# halves of core do not know each other. core names no FUSE, NNG, YAML or database (but for
# core/store), and config, transport and fs use core and not each other. Only the folders of the two
# programs join them.
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

# outside FOLDER ALLOWED: the files of a folder include of core only what lies in the folders that
# are allowed to it, and what lies in core itself.
outside() {
    for other in put get mount service queue store; do
        case " $1 $2 " in
        *" $other "*) ;;
        *) forbid "core/$1 does not know core/$other" "core/$other/" core/"$1"/*.[ch] ;;
        esac
    done
}

forbid "core knows neither FUSE, NNG nor YAML, and no other folder" \
    'fuse|nng/|yaml|config/|transport/|fs/' core/*.[ch] core/*/*.[ch]
forbid "what both halves share knows neither" 'core/[a-z]*/' core/*.[ch]
outside put ''
outside get put # of which it asks two things: what waits to be sent, and whether it was
outside mount 'put get'
outside service 'queue store'
outside queue store
outside store ''
forbid "get knows the producer only" 'core/put/([^p]|p[^r]|producer_)' core/get/*.[ch]
for file in core/*.[ch] core/*/*.[ch]; do
    case $file in
    core/store/index*) forbid "the index knows lmdb" 'nats' "$file" ;;
    core/store/nats*) forbid "nats knows nats" 'lmdb' "$file" ;;
    *) forbid "only index*.c and nats*.c of core/store know these" 'lmdb|nats' "$file" ;;
    esac
done
forbid "transport uses core only" 'fuse|yaml|lmdb|nats|config/|fs/|transport/queued/' transport/*.[ch]
forbid "fs uses core only" 'nng/|yaml|lmdb|nats|config/|transport/|core/store/|fs/queuefs/' fs/*.[ch]
forbid "config uses core only" 'fuse|nng/|lmdb|nats|transport/|fs/' config/*.[ch]
forbid "what starts a service knows no mount" 'fuse|fs/' transport/queued/*.[ch]

[ $status = 0 ] && echo "the includes keep to the folders"
exit $status
