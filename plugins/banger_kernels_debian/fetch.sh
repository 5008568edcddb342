#!/bin/sh
# mmdebstrap's extract hook: takes the kernel package apart. $1 is a directory with kmod and what it needs, unpacked
# and not installed; BANGER_PACKAGE the package that depends on the newest kernel; BANGER_OUT where to leave
# tree/boot/vmlinuz-<release> and tree/lib/modules/<release>.
set -eu
exec 2>&1
export APT_CONFIG="$MMDEBSTRAP_APT_CONFIG"

package=$(apt-cache depends "$BANGER_PACKAGE" | sed -n 's/^ *Depends: \(linux-image-[0-9].*\)$/\1/p' | head -n 1)
if [ -z "$package" ]; then
    echo "E: $BANGER_PACKAGE depends on no kernel"
    exit 1
fi
cd "$BANGER_OUT"
size=$(apt-cache show --no-all-versions "$package" | sed -n 's/^Size: //p')
echo "banger: fetch $package $size"
apt-get download "$package"

echo "banger: stage unpack"
dpkg-deb --extract "$package"_*.deb package
rm "$package"_*.deb
mkdir -p tree/lib
mv package/boot tree/boot
# Since trixie the package has its modules below /usr; depmod is compiled to look in one place or the other.
if [ -d package/lib/modules ]; then mv package/lib/modules tree/lib; else mv package/usr/lib/modules tree/lib; fi
ln -s . tree/usr
rm -rf package

echo "banger: stage depmod"
tree=$PWD/tree
release=$(ls tree/lib/modules)
cd "$1"
# The suite's own depmod, by its own loader: nothing of the host's, no chroot, no privileges. Paths are relative, as a
# library path cannot quote a colon.
loader=$(find lib usr/lib -name 'ld-linux-*.so.*' -type f 2>/dev/null | head -n 1)
libraries=$(dirname "$loader")
kmod=usr/bin/kmod
[ -e "$kmod" ] || kmod=bin/kmod
"./$loader" --library-path "$libraries:usr/$libraries" --argv0 depmod "./$kmod" \
    -b "$tree" -C etc/depmod.d "$release"
