# Standard input: certificates, PEM after PEM, possibly none. The system's bundle has them afterwards, and no others of
# an earlier start. Fedora's and Arch's tool is quick; that of Debian and Alpine takes minutes under emulation, so what it
# would do is done here, and it finds all in its place when it runs the next time. Elsewhere there is only the bundle.
set -eu
umask 022
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
kept=/var/lib/banger/authorities.pem
links=/var/lib/banger/authorities.links
folder=/etc/ssl/certs
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

link() {  # DIRECTORY: OpenSSL finds certificates by a hash of their names
    [ ! -f "$links" ] || while read -r name; do rm -f "$folder/$name"; done <"$links"
    : >"$links"
    command -v openssl >/dev/null || return 0
    for file in "$1"/banger-*.crt; do
        [ -f "$file" ] || continue
        hash=$(openssl x509 -noout -hash -in "$file")
        number=0
        while [ -e "$folder/$hash.$number" ]; do number=$((number + 1)); done
        ln -s "$file" "$folder/$hash.$number"
        printf '%s\n' "$hash.$number" >>"$links"
    done
}

mkdir -p "${kept%/*}"
if command -v update-ca-certificates >/dev/null; then
    spread /usr/local/share/ca-certificates crt
    if [ -n "$old" ] && ! grep -q "^$mark\$" "$folder/ca-certificates.crt"; then
        update-ca-certificates >/dev/null 2>&1  # it has run since, and what it wrote is its own to change
    else
        append "$folder/ca-certificates.crt"
        link /usr/local/share/ca-certificates
    fi
elif command -v update-ca-trust >/dev/null; then
    if [ -d /etc/pki/ca-trust/source/anchors ]; then
        spread /etc/pki/ca-trust/source/anchors pem
    else
        spread /etc/ca-certificates/trust-source/anchors crt
    fi
    update-ca-trust
else
    bundle=$folder/ca-certificates.crt
    for file in /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/ca-bundle.pem /etc/ssl/cert.pem; do
        [ -f "$bundle" ] || [ ! -f "$file" ] || bundle=$file
    done
    append "$bundle"
fi
printf '%s\n' "$new" >"$kept"
