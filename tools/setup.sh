#!/usr/bin/env bash
# Installs what running banger from this checkout needs (tools/setup.sh run), and what its tests need (tools/setup.sh test).
# Further arguments are Debian packages that a ring of its own needs. Asks dpkg, not apt, what is missing; says what it is about to install; does nothing the second time.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly purpose=${1:?usage: tools/setup.sh run|test [PACKAGE…]}
readonly venv=.venv
packages=(qemu-system-x86 qemu-utils mmdebstrap uidmap debian-archive-keyring e2fsprogs openssh-client python3-venv gcc libc6-dev)
programs=(qemu-system-x86_64 qemu-img mmdebstrap newuidmap mkfs.ext4 ssh cc)
if [[ $purpose == test ]]; then
    packages+=(shellcheck nftables iptables iproute2 make zsh fish rsync skopeo docker-registry busybox-static)
    programs+=(shellcheck nft iptables ip make zsh fish rsync skopeo docker-registry busybox)
fi
packages+=("${@:2}")

say() { printf '%s\n' "$*"; }
die() { printf 'setup: %s\n' "$*" >&2; exit 1; }

missing_packages() {
    local package
    for package in "${packages[@]}"; do
        [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || say "$package"
    done
}

missing_programs() {
    local program
    for program in "${programs[@]}"; do
        PATH=$PATH:/usr/sbin:/sbin command -v "$program" >/dev/null || say "$program"
    done
}

install_packages() {
    if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
        local absent
        absent=$(missing_programs | paste -sd ' ')
        [[ -z $absent ]] && return
        die "missing here: $absent. This is no Debian; install what your distribution calls: ${packages[*]}"
    fi
    local -a missing as_root=(env DEBIAN_FRONTEND=noninteractive)
    mapfile -t missing < <(missing_packages)
    ((${#missing[@]})) || return 0
    if ((EUID != 0)); then
        command -v sudo >/dev/null || die "missing packages; as root: apt-get install ${missing[*]}"
        as_root=(sudo "${as_root[@]}")
    fi
    say "setup: installing Debian packages with ${as_root[0]/env/apt-get}: ${missing[*]}"
    if ! compgen -G '/var/lib/apt/lists/*_Packages*' >/dev/null; then
        "${as_root[@]}" apt-get update -qq </dev/null
    fi
    "${as_root[@]}" apt-get install -qq -y -o Dpkg::Use-Pty=0 --no-install-recommends "${missing[@]}" </dev/null && return
    say "setup: the package lists may be old; fetching them and trying once more"
    "${as_root[@]}" apt-get update -qq </dev/null
    "${as_root[@]}" apt-get install -qq -y -o Dpkg::Use-Pty=0 --no-install-recommends "${missing[@]}" </dev/null
}

find_python() {
    local python
    for python in python3.14 python3.13 python3.12 python3.11 python3 /usr/bin/python3; do
        if "$python" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$python"
            return
        fi
    done
    die "no python3 of version 3.11 or newer with venv; found: $(python3 --version 2>&1 || true)"
}

# What the environment is made from: when none of it changes, neither does the environment.
fingerprint() {
    local files=(pyproject.toml hatch_build.py agent/*.c agent/*.h banger/__init__.py)
    { say "$PWD"; cat "${files[@]}"; } | sha256sum | cut -d ' ' -f 1
}

dev_requirements() {
    "$venv/bin/python" -c 'import tomllib
with open("pyproject.toml", "rb") as file:
    print("\n".join(tomllib.load(file)["dependency-groups"]["dev"]))'
}

make_environment() {
    local stamp=$venv/.setup-$purpose now
    now=$(fingerprint)
    if [[ -f $stamp && $(<"$stamp") == "$now" ]] && "$venv/bin/banger" --version >/dev/null 2>&1; then
        return
    fi
    if ! "$venv/bin/banger" --version >/dev/null 2>&1; then
        local python
        python=$(find_python)
        say "setup: making $venv with $("$python" --version)"
        "$python" -m venv --clear "$venv"
    fi
    say "setup: installing banger and its Python packages into $venv"
    "$venv/bin/pip" install -q --disable-pip-version-check -e .
    if [[ $purpose == test ]]; then
        dev_requirements >"$venv/dev-requirements.txt"
        "$venv/bin/pip" install -q --disable-pip-version-check -r "$venv/dev-requirements.txt"
    fi
    say "$now" >"$stamp"
    say "$now" >"$venv/.setup-run" # what the tests need includes what running needs
}

install_packages
make_environment
