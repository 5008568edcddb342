#!/bin/sh
# Builds a root file system and an ext4 file from it. Runs as (mapped) root in mount and PID namespaces of its own,
# so that whatever happens to it, the kernel takes the processes and the tmpfs away.
#
# build.sh WORK tmpfs:MIB|dir SUITE PACKAGES CUSTOMIZE OUT UUID TOOLS|- [MMDEBSTRAP OPTION...]
set -eu
work=$1 kind=$2 suite=$3 packages=$4 customize=$5 out=$6 uuid=$7 tools=$8
shift 8

exec 2>&1
if [ "$kind" != dir ]; then
    mount -t tmpfs -o "mode=755,size=${kind#tmpfs:}m" tmpfs "$work"
    # mmdebstrap's keyring home lies in /tmp and stays there when it is killed: give it a /tmp of its own.
    case "$out" in
        /tmp/*) ;;
        *) mkdir -m 1777 "$work/tmp" && mount --bind "$work/tmp" /tmp ;;
    esac
fi
root=$work/root

mmdebstrap --verbose --mode=root --format=directory --variant=apt \
    --include="$packages" \
    --aptopt='Apt::Install-Recommends "false"' --aptopt='Acquire::Languages "none"' \
    "$@" "$suite" "$root"
echo "banger: stage customize"
sh "$customize" "$root"
[ "$tools" = - ] || sh "$tools" "$root"
# Marks /etc and /var as up to date, or systemd rebuilds its caches at every first boot.
touch -r "$root/usr" "$root/etc/.updated" "$root/var/.updated"

echo "banger: stage seed"
tar -C "$root/root" -cf "$out/seed.tar" .

echo "banger: stage disk"
used=$(du -sm "$root" | cut -f1)
size=$((used + used / 4 + 256))
echo "banger: size $used $size"
# The inode tables are holes in a sparse file, so writing them now is free, and no guest does it later.
mke2fs -q -F -t ext4 -b 4096 -I 256 -i 16384 -J size=32 -m 1 -L banger-root -U "$uuid" \
    -O resize_inode,metadata_csum,64bit \
    -E "lazy_itable_init=0,lazy_journal_init=1,nodiscard,hash_seed=$uuid" \
    -d "$root" "$out/rootfs.ext4" "${size}M"
sed -n 's/^PRETTY_NAME="\(.*\)"$/banger: distro \1/p' "$root/usr/lib/os-release"
