#!/bin/sh
# Turns a fresh Debian into one for a disposable machine. $1 is its root directory.
set -eu
root=$1

# What the host lent to the build, and what has to be each machine's own.
rm -f "$root"/etc/ssh/ssh_host_*_key "$root"/etc/ssh/ssh_host_*_key.pub
: > "$root/etc/machine-id"
rm -f "$root/var/lib/dbus/machine-id" "$root/etc/apt/apt.conf.d/99mmdebstrap" "$root/etc/dpkg/dpkg.cfg.d/99mmdebstrap"
for name in resolv.conf hostname hosts fstab; do
    rm -f "$root/etc/$name"
    : > "$root/etc/$name"
    chmod 0644 "$root/etc/$name"
done
echo debian > "$root/etc/hostname"
printf '127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n' > "$root/etc/hosts"
printf 'LANG=C.UTF-8\n' > "$root/etc/default/locale"
usermod --root "$root" --lock root

# Nobody reads these in a disposable machine; apt brings them along for what is installed later.
rm -rf "$root"/usr/share/man/* "$root"/usr/share/info/* "$root"/usr/share/locale/*
find "$root/usr/share/doc" -mindepth 1 ! -type d ! -name copyright -delete
find "$root/usr/share/doc" -mindepth 1 -type d -empty -delete
# The hardware database describes mice and keyboards: 20 MB that no virtual machine looks up.
rm -rf "$root"/usr/lib/udev/hwdb.bin "$root"/usr/lib/udev/hwdb.d
rm -f "$root"/var/log/apt/* "$root/var/log/dpkg.log" "$root"/var/cache/debconf/*-old
find "$root/dev" -mindepth 1 -delete

units=$root/etc/systemd/system
generators=$root/etc/systemd/system-generators
mkdir -p "$units" "$generators"
ln -sfn /lib/systemd/system/multi-user.target "$units/default.target"
# Nobody sits at the console, and root has no password to log in with: waiting for a tty costs boot time.
rm -rf "$units/getty.target.wants"
ln -sfn /dev/null "$generators/systemd-getty-generator"
# `banger vm console` starts this one when somebody sits down there.
mkdir -p "$units/serial-getty@ttyS0.service.d"
cat > "$units/serial-getty@ttyS0.service.d/autologin.conf" <<'UNIT'
[Service]
ExecStart=
ExecStart=-/sbin/agetty --autologin root --noclear --keep-baud 115200 %I vt220
UNIT
# sshd on vsock would take the port of the agent's channel.
ln -sfn /dev/null "$generators/systemd-ssh-generator"
# Background work that would compete with the user's and dirty every private disk.
for unit in apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer fstrim.timer e2scrub_all.timer \
    e2scrub_reap.service systemd-pstore.service; do
    ln -sfn /dev/null "$units/$unit"
done
rm -rf "$units/timers.target.wants" "$units/sysinit.target.wants/systemd-pstore.service"
# The host sets the network up, before the init runs; nothing may wait for a daemon that is not there.
ln -sfn /dev/null "$units/systemd-networkd-wait-online.service"
rm -f "$units/multi-user.target.wants/remote-fs.target"

# Docker starts when somebody calls it, not with every boot.
for unit in docker.service containerd.service; do
    rm -f "$units/multi-user.target.wants/$unit"
done

# A machine that was given no host key makes one: without any, sshd would be a failed unit.
mkdir -p "$units/ssh.service.d"
cat > "$units/ssh.service.d/host-key.conf" <<'UNIT'
[Service]
ExecStartPre=
ExecStartPre=/bin/sh -c 'sshd -t 2>/dev/null || ssh-keygen -q -t ed25519 -N "" -f /etc/ssh/ssh_host_ed25519_key'
ExecStartPre=/usr/sbin/sshd -t
UNIT
