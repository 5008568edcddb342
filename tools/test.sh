#!/usr/bin/env bash
# Every ring, on this machine: unit (with lint and types), host, vm and a slice of smoke. Further arguments go to pytest.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

tools/setup.sh test
# A test that needed its second chance is listed as RERUN; the slowest are what a run that takes too long is cut by.
readonly pytest=(.venv/bin/python -m pytest -raR --reruns 1 --durations 12)
rings=unit,host,vm,smoke
if ((EUID != 0)) && sudo -n true 2>/dev/null; then
    printf 'test: the host ring needs root: running it with sudo first\n'
    sudo -n env PYTHONDONTWRITEBYTECODE=1 "${pytest[@]}" -p no:cacheprovider --rings host
    rings=unit,vm,smoke
elif ((EUID != 0)) && namespace=(unshare --user --map-root-user --net --mount) && "${namespace[@]}" true 2>/dev/null; then
    printf 'test: the host ring needs root: running it first as the root of a user namespace\n'
    "${namespace[@]}" env PYTHONDONTWRITEBYTECODE=1 "${pytest[@]}" -p no:cacheprovider --rings host tests/host
    rings=unit,vm,smoke
fi
# VMs mostly wait for their guests, so the quick rings, the builds and then some of the VMs' tests run beside the others;
# what those said comes at the end. The image that VMs need is built once.
if (($# == 0)); then
    later=(tests/vm/test_pages.py)
    said=$(mktemp)
    state=$(mktemp -d /tmp/bts-XXXX)
    export BANGER_TEST_STATE=${BANGER_TEST_STATE:-$state}
    {
        beside=0
        "${pytest[@]}" --rings "${rings/vm,/}" || beside=$?
        "${pytest[@]}" --rings vm --ignore=tests/vm || beside=$?
        "${pytest[@]}" --rings vm "${later[@]}" || beside=$?
        exit "$beside"
    } >"$said" 2>&1 &
    quick=$!
    trap 'kill "$quick" 2>/dev/null || true; rm -rf "$said" "$state"' EXIT
    status=0
    "${pytest[@]}" --rings vm tests/vm "${later[@]/#/--ignore=}" || status=$?
    wait "$quick" || status=$?
    cat "$said"
    exit "$status"
fi
exec "${pytest[@]}" --rings "$rings" "$@"
