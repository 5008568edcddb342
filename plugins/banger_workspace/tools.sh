# What is run in the guest, as `sh -c <this> tools <what> <arguments>`: fetch what a repository pins, with mise.
set -u
export HOME="${HOME:-/root}" MISE_YES=1
logs=$HOME/.cache/banger
log=$logs/tools.log
state=$logs/tools.state # running, done or failed

# begin SELF PROFILES REPOSITORY OWN PIN…: go on in the background, in a session of its own, which outlives this one.
begin() {
    mkdir -p "$logs"
    self=$1 profiles=$2
    shift 2
    if [ -d "$profiles" ] && [ -w "$profiles" ]; then
        # Login shells find tools as they arrive.
        printf '%s\n' 'case ":$PATH:" in *:"$HOME"/.local/share/mise/shims:*) ;; *) PATH=$HOME/.local/share/mise/shims:$PATH ;; esac' \
            >"$profiles/banger-tools.sh"
    fi
    echo running >"$state"
    setsid sh -c "$self" tools work "$@" >"$log" 2>&1 </dev/null &
}

bounded() { # SECONDS COMMAND…
    echo "+ $(shift; echo "$*")"
    if command -v timeout >/dev/null; then timeout "$@"; else shift; "$@"; fi
}

find_mise() {
    PATH=$PATH:$HOME/.local/bin
    command -v mise >/dev/null && return
    installer=$logs/mise-install
    if command -v curl >/dev/null; then
        bounded 120 curl -fsSL --connect-timeout 15 -o "$installer" https://mise.run || return
    elif command -v wget >/dev/null; then
        bounded 120 wget -q -T 15 -O "$installer" https://mise.run || return
    else
        echo "it takes curl or wget to fetch mise"
        return 1
    fi
    MISE_INSTALL_PATH=/usr/local/bin/mise bounded 600 sh "$installer" || return
    rm -f "$installer"
    hash -r
}

# work REPOSITORY OWN PIN…: OWN is yes where mise's own files are in the repository.
work() {
    ended=done
    if find_mise; then
        cd -- "$1"
        if [ "$2" = yes ]; then
            mise trust -q . || true
            bounded 1800 mise install || ended=failed
        fi
        shift 2
        for pin in "$@"; do
            bounded 1800 mise use --global "$pin" || ended=failed
        done
    else
        ended=failed
    fi
    echo "tools: $ended"
    echo "$ended" >"$state"
}

what=$1
shift
"$what" "$@"
