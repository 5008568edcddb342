# What a hostile guest plants in its repository, as `sh -c <this> tricks <trick> <directory>`: begins with an honest one.
# What it wants run is `touch` of a file in a directory that is the host's, and in the guest does not exist.
cd / && rm -rf /usr/local/bin/git /root/repo && cp -a /var/tmp/honest /root/repo && cd /root/repo || exit 1
git config user.name A && git config user.email a@vm && git commit -q --allow-empty -m honest || exit 1
commit=$(git rev-parse HEAD)
ran="touch $2/ran"

plant_git() { # SCRIPT: the guest's git is not what it seems
    printf '#!/bin/sh\n%s\n' "$1" >/usr/local/bin/git
    chmod +x /usr/local/bin/git
}

case $1 in
settings)
    for key in core.fsmonitor core.sshCommand core.gitProxy core.pager core.editor core.askPass core.alternateRefsCommand \
        uploadpack.packObjectsHook diff.external credential.helper gpg.program sequence.editor; do
        git config "$key" "$ran-$key"
    done
    git config "url.ext::$ran-ext .insteadOf" ssh://
    git config include.path "$2/included"
    ;;
drivers)
    for key in filter.x.smudge filter.x.clean filter.x.process diff.x.textconv diff.x.command merge.x.driver; do
        git config "$key" "$ran-$key"
    done
    git config filter.x.required true
    echo '* filter=x diff=x merge=x' >.gitattributes
    cp .gitattributes .git/info/attributes
    git -c filter.x.clean= -c filter.x.process= -c filter.x.required=false add -A
    git -c filter.x.clean= -c filter.x.process= -c filter.x.required=false commit -q -m attributes
    echo work >>a.txt
    ;;
hooks)
    mkdir own
    git config core.hooksPath own
    for hook in post-checkout pre-commit post-commit post-merge reference-transaction post-index-change pre-auto-gc \
        pre-receive update post-update push-to-checkout proc-receive; do
        printf '#!/bin/sh\n%s-%s\n' "$ran" "$hook" >own/$hook
        chmod +x own/$hook
        cp own/$hook .git/hooks/
    done
    git -c core.hooksPath=/dev/null add -A
    git -c core.hooksPath=/dev/null commit -q -m hooks
    ;;
alternates)
    printf '/etc\n%s/project/.git/objects\n' "$2" >.git/objects/info/alternates
    printf '%s/project/.git/objects\n' "$2" >.git/objects/info/http-alternates
    echo "$commit 1111111111111111111111111111111111111111" >.git/info/grafts
    git update-ref refs/replace/1111111111111111111111111111111111111111 HEAD
    ;;
links)
    git symbolic-ref refs/heads/link refs/heads/main
    ln -s /etc/passwd .git/refs/heads/pass
    ln -s "$2/trapped/.git/config" config
    ln -s .git/hooks hooks
    git add -A
    git commit -q -m links
    git tag v1
    git update-ref refs/stash HEAD
    git update-ref refs/remotes/origin/main HEAD
    ;;
names)
    for name in a..b -x x.lock 'e\033[31m' '@{-1}' 'sp ace'; do
        printf '%s\n' "$commit" >".git/refs/heads/$(printf "$name")"
    done
    mkdir .git/refs/heads/deep
    printf '%s\n' "$commit" >.git/refs/heads/deep/HEAD
    ;;
letters) git branch Main && git branch MAIN ;;
directories) printf '%s refs/heads/x\n%s refs/heads/x/y\n' "$commit" "$commit" >.git/packed-refs ;;
tree)
    blob=$(echo x | git hash-object -w --stdin)
    perl -e 'print qq(100644 .git\0) . pack(q(H*), shift)' "$blob" >/var/tmp/tree
    tree=$(git hash-object -t tree -w --literally /var/tmp/tree)
    git update-ref refs/heads/evil "$(git commit-tree -p HEAD -m e "$tree")"
    ;;
submodule)
    printf '[submodule "x"]\n\tpath = x\n\turl = -u./%s-submodule\n' "$ran" >.gitmodules
    git add -A
    git commit -q -m modules
    ;;
objects)
    for n in 1 2 3 4 5 6; do
        for m in 0 1 2 3 4 5 6 7 8 9; do echo "$n$m" >"file$n$m"; done
    done
    git add -A
    git commit -q -m many
    ;;
flood) plant_git 'head -c 3000000 /dev/zero' ;;
lies) plant_git "echo $commit refs/heads/../../hooks/post-checkout; echo $commit refs/heads/../../config; echo $commit refs/heads/main" ;;
esac
