#!/usr/bin/env bash
# Run as root while the host's image is made, with an archive at its standard input: libraries, an image, a kernel.
tar --extract --directory /opt
rm -f /opt/seed/banger.db-*
for user in alice bob; do
    useradd --create-home --shell /bin/bash "$user"
    home=/home/$user
    mkdir "$home/bin"
    if [ "$user" = alice ]; then
        python3 -m venv --without-pip "$home/venv"
        printf '#!/bin/sh\nexec %s/venv/bin/python3 -m banger "$@"\n' "$home" > "$home/bin/banger"
    else
        printf '#!/bin/sh\nPYTHONPATH=/opt/banger:/opt/site exec /usr/bin/python3 -m banger "$@"\n' > "$home/bin/banger"
    fi
    chmod 755 "$home/bin/banger"
    printf 'export PATH=%s:%s LANG=C.UTF-8\ncd /\n' "$home/bin" "$PATH" >> "$home/.profile"
    mkdir --parents "$home/.config/banger" "$home/.local/state/banger"
    printf '[defaults]\nmemory = "256M"\nvcpu = 1\nkernel = "debian-bookworm"\n' > "$home/.config/banger/config.toml"
done
packages=~alice/venv/lib/python3.11/site-packages
cp --recursive --preserve=timestamps /opt/site/. "$packages/"
python3 -m compileall -q /opt/site "$packages" || true
chown --recursive --no-dereference alice: ~alice /opt/seed
chown --recursive --no-dereference bob: ~bob
chmod 700 ~alice/.local/state/banger ~bob/.local/state/banger
usermod --append --groups kvm alice
printf 'alice ALL=(ALL) NOPASSWD: ALL\n' > /etc/sudoers.d/alice
printf 'kvm-amd\n' > /etc/modules-load.d/kvm.conf
sync
