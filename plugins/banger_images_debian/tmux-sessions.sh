#!/bin/sh
# Keeps tmux's sessions over the end of its server: their names, windows, layouts and directories; not what ran in them.
#
#   tmux-sessions save      write them down
#   tmux-sessions restore   make those that are missing
#   tmux-sessions watch     restore, then save again and again while the server lives; /etc/tmux.conf starts it
set -eu
file=${XDG_STATE_HOME:-$HOME/.local/state}/tmux-sessions
format='#{session_name}|#{window_index}|#{window_layout}|#{s/[|]/_/:window_name}|#{pane_current_path}'

save() {
    tmux list-panes -a -F "$format" >"$file.new" 2>/dev/null || return 1
    mv "$file.new" "$file"
}

# Whoever has a session of that name already keeps it as it is.
restore() {
    [ -f "$file" ] || return 0
    made='|' last=''
    while IFS='|' read -r session window layout name path; do
        [ -d "$path" ] || path=$HOME
        target="=$session:$window"
        if [ "$session|$window" = "$last" ]; then
            tmux split-window -d -t "$target" -c "$path" </dev/null || true
            tmux select-layout -t "$target" tiled </dev/null
        elif [ "${made#*"|$session|"}" != "$made" ]; then
            tmux new-window -d -t "$target" -n "$name" -c "$path" </dev/null
        elif tmux has-session -t "=$session" </dev/null 2>/dev/null; then
            continue
        else
            tmux new-session -d -s "$session" -n "$name" -c "$path" </dev/null
            tmux move-window -s "=$session:" -t "$target" </dev/null 2>/dev/null || true # it may be there already
            made="$made$session|"
        fi
        last="$session|$window"
        tmux select-layout -t "$target" "$layout" </dev/null 2>/dev/null || true # until all of its panes are there
    done <"$file"
}

server() { tmux display-message -p '#{pid}' 2>/dev/null; }

watch() {
    exec 9>"$file.lock"
    # One that belongs to a server that has just ended goes within its pause.
    flock -w 60 9 || exit 0
    own=$(server)
    restore
    while [ "$(server)" = "$own" ] && save; do sleep "${TMUX_SESSIONS_PAUSE:-15}" 9>&-; done
}

mkdir -p "${file%/*}"
case ${1-} in
    save | restore | watch) "$1" ;;
    *) echo 'usage: tmux-sessions save|restore|watch' >&2 && exit 2 ;;
esac
