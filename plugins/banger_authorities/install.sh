# Standard input: certificates, PEM after PEM, possibly none. The system's bundle has them afterwards, and no others of
# an earlier start. Debian, Alpine, Arch and Fedora have a tool of their own; elsewhere the bundle itself is changed.
set -eu
umask 022
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
kept=/var/lib/banger/authorities.pem
mark='# banger: authorities'
new=$(cat)
old=
[ ! -f "$kept" ] || old=$(cat "$kept")
[ "$new" != "$old" ] || exit 0

spread() {  # DIRECTORY EXTENSION: a file for each certificate
    mkdir -p "$1"
    rm -f "$1"/banger-*."$2"
    number=0
    [ -n "$new" ] || return 0
    printf '%s\n' "$new" | while IFS= read -r line; do
        case $line in *BEGIN*) number=$((number + 1)) ;; esac
        printf '%s\n' "$line" >>"$1/banger-$number.$2"
    done
}

append() {  # BUNDLE: what is behind the mark is ours
    mkdir -p "${1%/*}"
    [ ! -f "$1" ] || sed "/^$mark\$/,\$d" "$1" >"$1.banger"
    [ -f "$1.banger" ] || : >"$1.banger"
    [ -z "$new" ] || printf '%s\n%s\n' "$mark" "$new" >>"$1.banger"
    cat "$1.banger" >"$1"
    rm -f "$1.banger"
}

if command -v update-ca-certificates >/dev/null; then
    spread /usr/local/share/ca-certificates crt
    update-ca-certificates >/dev/null 2>&1
elif command -v update-ca-trust >/dev/null; then
    if [ -d /etc/pki/ca-trust/source/anchors ]; then
        spread /etc/pki/ca-trust/source/anchors pem
    else
        spread /etc/ca-certificates/trust-source/anchors crt
    fi
    update-ca-trust
else
    bundle=/etc/ssl/certs/ca-certificates.crt
    for file in /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/ca-bundle.pem /etc/ssl/cert.pem; do
        [ -f "$bundle" ] || [ ! -f "$file" ] || bundle=$file
    done
    append "$bundle"
fi
mkdir -p "${kept%/*}"
printf '%s\n' "$new" >"$kept"
