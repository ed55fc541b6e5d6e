#!/bin/bash
# Copies what `kmend install --initramfs` has listed for a kernel into its initramfs.

# shellcheck disable=SC2154 # dracut sets kernel, initdir, moddir and dracutsysrootdir

check() {
	[[ -s ${dracutsysrootdir-}/var/lib/kmend/initramfs/$kernel ]]
}

depends() {
	return 0
}

install() {
	local plan=/var/lib/kmend/initramfs/$kernel file sha256
	inst_simple "$plan" "/lib/kmend/$kernel/plan"
	while read -r _ file sha256 _; do
		# What was checked when it was listed, and nothing else.
		echo "$sha256  ${dracutsysrootdir-}/var/lib/kpatch/$kernel/$file" | sha256sum --check --status || return 1
		inst_simple "/var/lib/kpatch/$kernel/$file" "/lib/kmend/$kernel/$file" || return 1
	done <"${dracutsysrootdir-}$plan"
	inst_simple /usr/lib/kmend/initramfs/load /lib/kmend/load
	inst_multiple insmod cmp od rm mkdir mv sync sleep mount
	inst_hook pre-pivot 50 "$moddir/load-patches.sh"
}
