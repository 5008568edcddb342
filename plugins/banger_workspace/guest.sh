#!/bin/sh
# The guest's half: what is run in the VM, as `sh -c <this> workspace <what> <arguments>`.
# What it prints is no more than a hint to the host, which checks all of it.
set -eu
export LC_ALL=C GIT_TERMINAL_PROMPT=0 GIT_LITERAL_PATHSPECS=1 GIT_OPTIONAL_LOCKS=0
export GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0='*' # whoever works in it here

fail() {
    printf '%s\n' "$1" >&2
    exit "${2:-1}"
}


# Print the tree of all files that are not ignored, through an index that is thrown away.
# It lies in the repository, not in a tmpfs: it may be large.
snapshot() {
    real=$(git rev-parse --git-path index)
    index=$(git rev-parse --git-path "banger-index.$$")
    [ ! -f "$real" ] || cp -p -- "$real" "$index"
    GIT_INDEX_FILE=$index git add -A --ignore-errors . >/dev/null 2>&1 || true
    GIT_INDEX_FILE=$index git write-tree
    rm -f -- "$index"
}

enter() {
    cd -- "$1" 2>/dev/null || fail "there is no $1 in the guest" 91
    [ -e .git ] || fail "$1 is no repository any more" 91
}

# state PATH HEAD BRANCH TREE: what a prepare would meet there.
state() {
    if [ ! -e "$1" ] && [ ! -L "$1" ]; then echo absent; return; fi
    if [ -d "$1" ] && [ -z "$(find "$1" -mindepth 1 -maxdepth 1 -print | head -c 1)" ]; then echo absent; return; fi
    [ -d "$1/.git" ] || { echo foreign; return; }
    cd -- "$1"
    [ ! -e .git/banger-preparing ] || { echo partial; return; }
    now=$(git rev-parse --quiet --verify HEAD || echo none)
    tip=$(git rev-parse --quiet --verify "refs/heads/$3" || echo none)
    if [ "$now" = "$2" ] && [ "$tip" = "$2" ] && [ "$(snapshot)" = "$4" ]; then
        echo clean
    else
        echo changed
    fi
}

# begin PATH: make room for a repository that arrives whole; until it is settled it is a part.
begin() {
    mkdir -p -- "$1/.git"
    : >"$1/.git/banger-preparing"
}

# settle PATH: what arrived whole is whole.
settle() {
    cd -- "$1"
    if command -v mise >/dev/null 2>&1; then mise trust -q . >/dev/null 2>&1 || true; fi
    rm -f .git/banger-preparing
}

# receive PATH FORMAT: make the repository and take a pack from standard input.
receive() {
    mkdir -p -- "$1"
    if [ "$2" = sha1 ]; then git init -q -- "$1"; else git init -q --object-format="$2" -- "$1"; fi
    cd -- "$1"
    : >.git/banger-preparing
    [ "$3" = empty ] || git index-pack --stdin --fix-thin >/dev/null
}

# fill PATH HEAD BRANCH SHALLOW DELETED ADDED LINKS NAME EMAIL ORIGIN READONLY: put the commit and the files in place.
# Standard input: DELETED, ADDED and LINKS bytes of NUL-terminated paths, then a tar archive.
fill() {
    cd -- "$1"
    : >.git/banger-preparing
    rm -f .git/index.lock
    if [ "$2" = none ]; then
        git symbolic-ref HEAD "refs/heads/$3"
        git read-tree --empty
    else
        if [ -n "$4" ]; then printf '%s\n' "$4" >.git/shallow; else rm -f .git/shallow; fi
        git update-ref "refs/heads/$3" "$2"
        git symbolic-ref HEAD "refs/heads/$3"
        git reset -q --hard "$2"
    fi
    head -c "$5" | xargs -0 -r rm -f --
    git clean -q -f -d # and directories that became empty
    head -c "$6" >.git/banger-added
    head -c "$7" >.git/banger-links
    tar -x -p -f -
    [ "$6" = 0 ] || git add --intent-to-add --force --pathspec-from-file=.git/banger-added --pathspec-file-nul
    [ "$7" = 0 ] || git update-index -z --force-remove --stdin <.git/banger-links
    [ -z "$8" ] || git config user.name "$8"
    [ -z "$9" ] || git config user.email "$9"
    shift 9
    if [ -n "$1" ]; then
        git config remote.origin.url "$1"
        git config remote.origin.fetch "+refs/heads/*:refs/remotes/origin/*"
    fi
    if command -v mise >/dev/null 2>&1; then mise trust -q . >/dev/null 2>&1 || true; fi
    tree=$(snapshot)
    git update-ref refs/banger/prepared "$tree" # so that no gc takes it away
    if [ "$2" = yes ]; then
        find . -path ./.git -prune -o ! -type l -exec chmod a-w -- {} +
    fi
    rm -f .git/banger-added .git/banger-links .git/banger-preparing
    printf '%s\n' "$tree"
}

# changes PATH BASE FORM: what differs between BASE and the files there are, as a patch, with --stat or with --raw.
changes() {
    enter "$1"
    base=$(git rev-parse --quiet --verify --end-of-options "$2^{tree}") || fail "there is no '$2' in the guest's repository" 92
    tree=$(snapshot)
    case $3 in
    patch) set -- --binary --full-index ;;
    stat) set -- --stat=100 --summary ;;
    raw) set -- --raw -z --abbrev=64 ;;
    esac
    git diff-tree -r --no-color --no-ext-diff --no-textconv --no-renames --src-prefix=a/ --dst-prefix=b/ "$@" "$base" "$tree"
}

# branches PATH: the branches with their commits, and a last line on what is not committed.
branches() {
    enter "$1"
    git for-each-ref --format='%(objectname) %(refname)' refs/heads
    [ -z "$(git status --porcelain --untracked-files=normal | head -c 1)" ] || echo uncommitted
}

what=$1
shift
case $what in
begin | settle) ;;
*) command -v git >/dev/null 2>&1 || fail "git is not installed in the guest" 90 ;;
esac
"$what" "$@"
