#!/bin/sh
# What the image for development has that Debian does not. $1 is its root directory; /etc/resolv.conf there is empty
# again afterwards.
set -eu
root=$1 here=$(dirname "$0")

install -D -m 755 "$here/tmux-sessions.sh" "$root/usr/local/bin/tmux-sessions"
install -m 644 "$here/tmux.conf" "$root/etc/tmux.conf"

# mise, of its makers' package for npm, which checks what comes against the digest that is written here.
version=2026.9.15
digest=sha512-ButPFGyztN0Rk/HOHvHuf+W80CkvQRAjbDWHvhGJc3PnL3e2KhCYZIOyjx8wPkhr9VJa/7sJZXpxtt5JLjsfaQ==
package=@jdxcode/mise-linux-x64

skip() {
    echo "banger: notice mise is left out: $1. In a VM: npm install -g @jdxcode/mise"
    exit 0
}
[ "$(uname -m)" = x86_64 ] || skip "its digest for $(uname -m) is not known"

echo "banger: stage tools"
tools=$root/opt/tools
mkdir -p "$tools"
trap 'rm -rf "$tools"; : >"$root/etc/resolv.conf"' EXIT
cp -L /etc/resolv.conf "$root/etc/resolv.conf"
cp -L /etc/ssl/certs/ca-certificates.crt "$tools/authorities.pem" 2>/dev/null || : >"$tools/authorities.pem"
echo "{\"name\": \"tools\", \"version\": \"1.0.0\", \"dependencies\": {\"$package\": \"$version\"}}" >"$tools/package.json"
cat >"$tools/package-lock.json" <<JSON
{
  "name": "tools", "version": "1.0.0", "lockfileVersion": 2, "requires": true,
  "packages": {
    "": {"name": "tools", "version": "1.0.0", "dependencies": {"$package": "$version"}},
    "node_modules/$package": {
      "version": "$version", "integrity": "$digest",
      "resolved": "https://registry.npmjs.org/$package/-/${package#*/}-$version.tgz"
    }
  }
}
JSON
timeout 300 chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/opt/tools \
    ${http_proxy:+"http_proxy=$http_proxy"} ${https_proxy:+"https_proxy=$https_proxy"} \
    NODE_EXTRA_CA_CERTS=/opt/tools/authorities.pem \
    sh -c 'cd /opt/tools && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error --fetch-retries=1' ||
    skip 'npm cannot fetch it'
install -m 755 "$tools/node_modules/$package/bin/mise" "$root/usr/local/bin/mise" || skip 'it is not where it was'
cat >"$root/etc/profile.d/mise.sh" <<'PROFILE'
[ -z "${BASH_VERSION-}" ] || eval "$(/usr/local/bin/mise activate bash)"
PROFILE
