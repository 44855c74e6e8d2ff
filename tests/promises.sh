#!/bin/sh
# The README's table of promises names tests: each of them must be there. Prints those that are
# not; status 1 if there is one, or no table.

cd "$(dirname "$0")/.." || exit 2

links=$(grep '^| ' README.md | grep -oE '\[[^]]+\]\(tests/[^)]+\)')
[ "$(printf '%s\n' "$links" | wc -l)" -ge 28 ] || {
    echo "README.md has no table of promises with a test in each cell"
    exit 1
}
printf '%s\n' "$links" | {
    status=0
    while IFS= read -r link; do
        file=${link##*(}
        file=${file%)}
        name=${link%%]*}
        name=$(printf '%s' "${name#[}" | tr ' ' _)
        grep -qE "^(def test_$name\(|Test\([a-z_]+, $name[,)])" "$file" || {
            echo "$file has no test $name"
            status=1
        }
    done
    exit $status
}
