# What is run in the guest, as `sh -c <this> opencode <what> <arguments>`. The last line of standard error says what
# went wrong. Statuses: 90 there is no opencode, 91 nothing can fetch one, 92 the server ended.
set -u
export HOME="${HOME:-/root}" # where npm, mise and opencode's own installer put programs comes after what the image has
export PATH="${PATH:-/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin}:$HOME/.opencode/bin:$HOME/.local/bin:$HOME/.local/share/mise/shims"
logs=$HOME/.cache/banger
log=$logs/opencode.log

fail() {
    printf '%s\n' "$1" >&2
    exit "$2"
}

last() {
    tail -n 20 "$log" 2>/dev/null | grep -v '^[[:space:]]*$' | tail -n 1
}

find_it() {
    command -v opencode >/dev/null || fail "there is no opencode in the guest" 90
}

# install VERSION BIN: by npm where there is one, else with opencode's own installer; BIN gets a link to it.
install_it() {
    mkdir -p "$logs"
    : >"$log"
    if command -v npm >/dev/null; then
        npm install -g --no-fund --no-audit --fetch-retries=1 --fetch-timeout=60000 "opencode-ai@$1" >>"$log" 2>&1 </dev/null
    elif command -v curl >/dev/null && command -v bash >/dev/null; then
        curl -fsSL --connect-timeout 15 --max-time 60 -o "$logs/opencode-install" https://opencode.ai/install 2>>"$log" &&
            { [ "$1" = latest ] || export VERSION="$1"; } &&
            bash "$logs/opencode-install" >>"$log" 2>&1 </dev/null
    else
        fail "it takes npm, or curl and bash, to fetch it" 91
    fi || fail "$(last)" 1
    rm -f "$logs/opencode-install"
    hash -r
    find_it
    if [ ! -e "$2/opencode" ] && [ -w "$2" ]; then
        ln -s "$(command -v opencode)" "$2/opencode" # for commands, whose PATH is the system's
    fi
}

# serve PORT: begin, and return at once. The server outlives this shell's session.
serve() {
    mkdir -p "$logs"
    : >"$log"
    [ ! -d "$HOME/repo" ] || cd "$HOME/repo"
    setsid opencode serve --hostname 127.0.0.1 --port "$1" >>"$log" 2>&1 </dev/null &
    echo $! >"$logs/opencode.pid"
}

# look: whether the server is still there.
look() {
    pid=$(cat "$logs/opencode.pid")
    # One that ended stays a zombie in a guest where nobody reaps.
    if ! kill -0 "$pid" 2>/dev/null || grep -q '^State:.*Z' "/proc/$pid/status" 2>/dev/null; then fail "$(last)" 92; fi
    last >&2
}

# attach PORT ARGUMENTS…: what people see; a port where nothing is given beside it.
attach() {
    find_it
    port=$1
    shift
    if [ "$port" != none ] && [ $# = 0 ]; then exec opencode attach "http://127.0.0.1:$port"; fi
    exec opencode "$@"
}

what=$1
shift
case $what in
find) find_it ;;
install) install_it "$@" ;;
serve) serve "$@" ;;
look) look ;;
attach) attach "$@" ;;
esac
