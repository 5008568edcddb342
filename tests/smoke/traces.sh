#!/usr/bin/env bash
# What banger could leave on a host, one line each: links, rules, devices, processes, sockets, mounts, files.
ip -o link | awk -F': ' '{print "link " $2}'
nft list tables | sed 's/^/nft /'
# Devices get other numbers with each start of a VM, and Firecracker's process other times.
losetup --all --noheadings --output NAME | sed 's/.*/loop device/'
dmsetup ls 2> /dev/null | grep -v '^No devices' | awk '{print "dm " $1}'
ps axo user:20,args | awk '/qemu-system|firecracker|banger\.(daemon|helper)|mmdebstrap/ && !/awk/ {$1 = $1; gsub(/-us [0-9]+/, "-us N"); print "process " $0}'
# A socket that was put in its place by a rename is known to the kernel as what it was called before, with a process's id.
ss --listening --unix --no-header | awk '{sub(/\.[0-9]+$/, ".ID", $5); print "socket " $5}' | grep banger
mount | grep banger | sed 's/^/mount /'
find /etc/banger /etc/systemd/system /etc/tmpfiles.d /usr/local/lib -maxdepth 2 -name '*banger*' -o -maxdepth 2 -path '*banger/*' 2> /dev/null | sed 's/^/file /'
find /var/lib/bangerd-root -mindepth 1 -maxdepth 2 2> /dev/null | sed 's/^/jail /'
# What is in the directory of a VM is the VM's, and goes with it.
find /var/lib/banger/vms /var/lib/banger/s /var/lib/banger/staging /home/*/.local/state/banger/vms /home/*/.local/state/banger/staging -mindepth 1 -maxdepth 1 2> /dev/null | sed 's/^/file /'
true
