#!/usr/bin/env bash
# Every ring, on this machine: unit (with lint and types), host, vm and a slice of smoke. Further arguments go to pytest.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

tools/setup.sh test
readonly pytest=(.venv/bin/python -m pytest)
rings=unit,host,vm,smoke
if ((EUID != 0)) && sudo -n true 2>/dev/null; then
    printf 'test: the host ring needs root: running it with sudo first\n'
    sudo -n env PYTHONDONTWRITEBYTECODE=1 "${pytest[@]}" -p no:cacheprovider --rings host
    rings=unit,vm,smoke
fi
# VMs mostly wait for their guests, so the quick rings and the builds run beside them; what those said comes at the end.
if (($# == 0)); then
    said=$(mktemp)
    {
        beside=0
        "${pytest[@]}" --rings "${rings/vm,/}" || beside=$?
        "${pytest[@]}" --rings vm --ignore=tests/vm || beside=$?
        exit "$beside"
    } >"$said" 2>&1 &
    quick=$!
    trap 'kill "$quick" 2>/dev/null; rm -f "$said"' EXIT
    status=0
    "${pytest[@]}" --rings vm tests/vm || status=$?
    wait "$quick" || status=$?
    cat "$said"
    exit "$status"
fi
exec "${pytest[@]}" --rings "$rings" "$@"
