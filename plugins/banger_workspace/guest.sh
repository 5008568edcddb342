#!/bin/sh
# The guest's half: what is run in the VM, as `sh -c <this> workspace <what> <arguments>`.
# What it prints is no more than a hint to the host, which checks all of it.
set -eu
export LC_ALL=C GIT_TERMINAL_PROMPT=0 GIT_LITERAL_PATHSPECS=1 GIT_OPTIONAL_LOCKS=0
export GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0='*' # whoever works in it here

newline='
'

fail() {
    printf '%s\n' "$1" >&2
    exit "${2:-1}"
}


# Print the tree of all files that are not ignored. Its index stays as .git/banger-index: with it one look tells whether
# files are as they arrived. It lies in the repository, not in a tmpfs: it may be large.
snapshot() {
    [ ! -f .git/index ] || cp -p -- .git/index .git/banger-index
    GIT_INDEX_FILE=.git/banger-index git add -A --ignore-errors . >/dev/null 2>&1 || true
    GIT_INDEX_FILE=.git/banger-index git write-tree
}

enter() {
    cd -- "$1" 2>/dev/null || fail "there is no $1 in the guest" 91
    [ -e .git ] || fail "$1 is no repository any more" 91
}

# state PATH HEAD BRANCH TREE: what a prepare meets there.
state() {
    if [ ! -e "$1" ] && [ ! -L "$1" ]; then echo absent; return; fi
    if [ -d "$1" ] && [ -z "$(find "$1" -mindepth 1 -maxdepth 1 -print | head -c 1)" ]; then echo absent; return; fi
    [ -d "$1/.git" ] || { echo foreign; return; }
    cd -- "$1"
    [ ! -e .git/banger-preparing ] || { echo partial; return; }
    if [ "$2" = none ]; then
        now=$(git rev-parse --quiet --verify HEAD || echo none) expected=none
        prepared=$(git rev-parse --quiet --verify refs/banger/prepared || true)
    else
        now=$(git rev-parse HEAD "refs/heads/$3" refs/banger/prepared 2>/dev/null || true) # a line each, in one process
        prepared=${now##*"$newline"} now=${now%"$newline"*} expected=$2$newline$2
    fi
    if [ "$now" != "$expected" ]; then
        if is_repository .; then echo changed; else echo broken; fi
    elif [ ! -f .git/banger-index ]; then
        if [ "$(snapshot)" = "$4" ]; then echo clean; else echo changed; fi
    elif [ "$prepared" = "$4" ] &&
        [ -z "$(GIT_INDEX_FILE=.git/banger-index git -c core.quotePath=true ls-files -m -o --exclude-standard | head -c 1)" ]; then
        echo clean
    else
        echo changed
    fi
}

# settle PATH: what came with the disk is ready.
settle() {
    cd -- "$1"
    if command -v mise >/dev/null 2>&1; then mise trust -q . >/dev/null 2>&1 || true; fi
}

# is_repository PATH: git can read what is there; a machine whose power went leaves files that are empty.
is_repository() { git --git-dir="$1/.git" rev-parse --git-dir >/dev/null 2>&1; }

# begin PATH FORMAT: make the repository, in which until its end there is a part.
begin() {
    mkdir -p -- "$1"
    is_repository "$1" || rm -rf -- "$1/.git"
    if [ "$2" = sha1 ]; then git init -q -- "$1"; else git init -q --object-format="$2" -- "$1"; fi
    : >"$1/.git/banger-preparing"
}

# receive PATH: take a pack from standard input.
receive() {
    cd -- "$1"
    : >.git/banger-preparing
    git index-pack --stdin --fix-thin >/dev/null
}

# fill PATH HOW HEAD BRANCH SHALLOW DELETED ADDED LINKS SENT NAME EMAIL ORIGIN READONLY: put the commit and the files in
# place. HOW: all; or keep, where the files are those of the commit but for some that all come again.
# Standard input: DELETED, ADDED, LINKS and SENT bytes of NUL-terminated paths, then a tar archive of those sent.
fill() {
    cd -- "$1"
    how=$2 head=$3 branch=$4 shallow=$5 deleted=$6 added=$7 links=$8 sent=$9
    shift 9
    : >.git/banger-preparing
    [ "$how" = keep ] || check_out
    for list in "$deleted deleted" "$added added" "$links links" "$sent sent"; do
        [ "${list% *}" = 0 ] || head -c "${list% *}" >".git/banger-${list#* }"
    done
    if [ "$deleted" != 0 ]; then xargs -0 -r rm -f -- <.git/banger-deleted; fi
    [ "$how" = keep ] || git clean -q -f -d # and directories that became empty
    tar -x -p -f -
    [ "$added" = 0 ] || git add --intent-to-add --force --pathspec-from-file=.git/banger-added --pathspec-file-nul
    [ "$links" = 0 ] || git update-index -z --force-remove --stdin <.git/banger-links
    [ "$how" = keep ] || configure "$@"
    [ "$how" = keep ] || [ ! -f .git/index ] || cp -p -- .git/index .git/banger-index
    tree=$(note_files)
    git update-ref refs/banger/prepared "$tree" # so that no gc takes it away
    if [ "$4" = yes ]; then
        find . -path ./.git -prune -o ! -type l -exec chmod a-w -- {} +
    fi
    rm -f .git/banger-deleted .git/banger-added .git/banger-links .git/banger-sent .git/banger-preparing
    printf '%s\n' "$tree"
}

# refill PATH HEAD BRANCH TREE, and fill's arguments after HOW: state, and where that is clean fill (keep): a second time
# is one call. What it meets is printed where it is something else, and standard input is left.
refill() {
    there=$(state "$1" "$2" "$3" "$4")
    if [ "$there" != clean ]; then printf '%s\n' "$there"; return; fi
    path=$1
    shift 4
    fill "$path" keep "$@"
}

# The commit's files, and nothing else.
check_out() {
    rm -f .git/index.lock
    if [ "$head" = none ]; then
        git symbolic-ref HEAD "refs/heads/$branch"
        git read-tree --empty
    else
        if [ -n "$shallow" ]; then printf '%s\n' "$shallow" >.git/shallow; else rm -f .git/shallow; fi
        git update-ref "refs/heads/$branch" "$head"
        git symbolic-ref HEAD "refs/heads/$branch"
        git reset -q --hard "$head"
    fi
}

# configure NAME EMAIL ORIGIN …
configure() {
    [ -z "$1" ] || git config user.name "$1"
    [ -z "$2" ] || git config user.email "$2"
    if [ -n "$3" ]; then
        git config remote.origin.url "$3"
        git config remote.origin.fetch "+refs/heads/*:refs/remotes/origin/*"
    fi
    if command -v mise >/dev/null 2>&1; then mise trust -q . >/dev/null 2>&1 || true; fi
}

# Print the tree of the index that is compared with, after what was deleted and sent.
note_files() {
    GIT_INDEX_FILE=.git/banger-index
    export GIT_INDEX_FILE
    [ "$deleted" = 0 ] || git update-index -z --force-remove --stdin <.git/banger-deleted
    [ "$sent" = 0 ] || git update-index --add --replace -z --stdin <.git/banger-sent
    git write-tree
}

# changes PATH BASE FORM: what differs between BASE and the files there are, through an index that is thrown away: as
# names, as numbers, or as names, an empty line and a patch.
changes() {
    enter "$1"
    base=$(git rev-parse --quiet --verify --end-of-options "$2^{tree}") || fail "there is no '$2' in the guest's repository" 92
    real=$(git rev-parse --git-path index)
    GIT_INDEX_FILE=$(git rev-parse --git-path "banger-index.$$")
    trap 'rm -f -- "$GIT_INDEX_FILE"' EXIT
    [ ! -f "$real" ] || cp -p -- "$real" "$GIT_INDEX_FILE"
    export GIT_INDEX_FILE
    git add --intent-to-add . >/dev/null 2>&1 || true
    case $3 in
    patch) set -- --raw --patch --binary ;;
    stat) set -- --stat=100 --summary ;;
    names) set -- --raw ;;
    esac
    git -c diff.noprefix=false -c diff.mnemonicPrefix=false -c diff.relative=false -c diff.orderFile=/dev/null \
        -c diff.interHunkContext=0 -c diff.context=3 -c core.quotePath=true -c diff.ignoreSubmodules=all \
        diff --no-color --no-ext-diff --no-textconv --no-renames --full-index --abbrev=64 \
        --src-prefix=a/ --dst-prefix=b/ "$@" "$base" --
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
settle) ;;
*) command -v git >/dev/null 2>&1 || fail "git is not installed in the guest" 90 ;;
esac
"$what" "$@"
