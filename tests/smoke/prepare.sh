#!/usr/bin/env bash
# Run as root on the host, with an archive at its standard input.
tar --extract --directory /opt
rm -f /opt/seed/banger.db-*
for user in alice bob; do
    useradd --create-home --shell /bin/bash "$user"
    home=/home/$user
    mkdir "$home/bin"
    if [ "$user" = alice ]; then
        python3 -m venv --without-pip "$home/venv"
        cp --recursive --preserve=timestamps /opt/site/. "$home/venv/lib/python3.11/site-packages/"
        printf '#!/bin/sh\nexec %s/venv/bin/python3 -m banger "$@"\n' "$home" > "$home/bin/banger"
    else
        printf '#!/bin/sh\nPYTHONPATH=/opt/site exec /usr/bin/python3 -m banger "$@"\n' > "$home/bin/banger"
    fi
    chmod 755 "$home/bin/banger"
    printf 'export PATH=%s:%s LANG=C.UTF-8\ncd /\n' "$home/bin" "$PATH" >> "$home/.profile"
    mkdir --parents "$home/.config/banger" "$home/.local/state/banger"
    printf '[defaults]\nmemory = "256M"\nvcpu = 1\nkernel = "debian-bookworm"\n' > "$home/.config/banger/config.toml"
    chown --recursive --no-dereference "$user:" "$home"
    chmod 700 "$home/.local/state/banger"
done
chown --recursive alice: /opt/seed
modprobe kvm-amd
usermod --append --groups kvm alice
printf 'alice ALL=(ALL) NOPASSWD: ALL\n' > /etc/sudoers.d/alice
