/**
 * The shell functions that every scriptlet shares: plain sh with coreutils, so that a host needs neither Node nor kmend. They read these variables:
 *
 * - `package`, `version` (VERSION-RELEASE), `activate` (yes or no)
 * - `modules`: a line for each module with kernel release, module name, payload, staged file, the digest of its build id note, the build id of the kernel
 *   that it was proven for, and NAME:BUILD-ID of each module that it patches, with commas (`-` for none).
 *   None of these values can hold white space (package-name.ts checks them).
 *
 * What happened last stands in /var/lib/kmend/packages/PACKAGE; which version was loaded since boot stands below /run, which a reboot empties.
 * A loaded module is never unloaded here: a task may be in its code, and a kernel that has lost a fix without anybody asking for it is worse than
 * a module without a package.
 */
export const activationScript = `
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin
state=/var/lib/kmend/packages/$package
loaded_mark=/run/kmend/packages/$package
livepatch=/sys/kernel/livepatch

say() {
	echo "$package: $*" >&2
}

# record OUTCOME MESSAGE: outcome is one of staged, loaded, transition, reboot, failed.
record() {
	say "$2"
	mkdir -p "\${state%/*}" 2>/dev/null || return 0
	{
		echo "version=$version"
		echo "outcome=$1"
		echo "message=$2"
		echo "$modules" | while read -r release name payload staged _; do
			[ -z "$release" ] || [ "$payload" = "$staged" ] || echo "staged=$staged"
		done
	} >"$state.new" 2>/dev/null && mv -f "$state.new" "$state"
	return 0
}

recorded() {
	sed -n "s/^$1=//p" "$2" 2>/dev/null
}

# True when version $1 is older than version $2.
older() {
	[ "$1" != "$2" ] && [ "$(printf '%s\\n%s\\n' "$1" "$2" | sort -V | head -n 1)" = "$1" ]
}

downgrade_refused() {
	say "version $version is older than the installed $1: an older live patch does not replace a newer one"
	say "to go back, remove the package, install the older one, and reboot"
	exit 1
}

refuse_downgrade() {
	installed=$(recorded version "$state" | head -n 1)
	[ -n "$installed" ] && older "$version" "$installed" && downgrade_refused "$installed"
	return 0
}

# A scriptlet that runs for another root (an image, a container) must not touch the kernel of the machine.
own_root() {
	[ -e /proc/1/root/. ] || return 0
	[ "$(stat -c %d:%i / 2>/dev/null)" = "$(stat -L -c %d:%i /proc/1/root/. 2>/dev/null)" ]
}

# The first that is there of the two programs that manage patch modules on a host.
host_tool() {
	command -v kmend 2>/dev/null || command -v kpatch 2>/dev/null
}

stage() {
	release=$1 payload=$2 staged=$3
	[ "$payload" = "$staged" ] && return 0
	tool=$(host_tool)
	case $tool in
	*/kmend) "$tool" install --kernel "$release" "$payload" >/dev/null 2>&1 ;;
	*/kpatch) "$tool" install --kernel-version "$release" "$payload" >/dev/null 2>&1 ;;
	esac
	cmp -s "$payload" "$staged" 2>/dev/null && return 0
	mkdir -p "\${staged%/*}" && cp -f "$payload" "$staged.new" && chmod 644 "$staged.new" || return 1
	if command -v selinuxenabled >/dev/null 2>&1 && selinuxenabled; then
		chcon -t modules_object_t "$staged.new" 2>/dev/null
	fi
	mv -f "$staged.new" "$staged" && sync
}

unstage() {
	release=$1 payload=$2 staged=$3
	[ "$payload" = "$staged" ] && return 0
	tool=$(host_tool)
	case $tool in
	*/kmend) "$tool" uninstall --kernel "$release" "\${staged##*/}" >/dev/null 2>&1 ;;
	*/kpatch) "$tool" uninstall --kernel-version "$release" "\${staged##*/}" >/dev/null 2>&1 ;;
	esac
	rm -f "$staged"
	rmdir "\${staged%/*}" 2>/dev/null
	return 0
}

# load NAME FILE: prints what went wrong, if anything did.
load() {
	# With SELinux only the service's domain may load modules from there.
	if [ -e /sys/fs/selinux/enforce ] && command -v systemctl >/dev/null 2>&1; then
		for service in kmend.service kpatch.service; do
			systemctl cat "$service" >/dev/null 2>&1 || continue
			systemctl restart "$service" 2>&1
			return
		done
	fi
	tool=$(host_tool)
	case $tool in
	*/kmend | */kpatch) "$tool" load "$2" 2>&1 ;;
	*) insmod "$2" 2>&1 ;;
	esac
}

# digits_of FILE: the notes in a file of the kernel as hexadecimal digits.
digits_of() {
	od -An -v -tx1 "$1" 2>/dev/null | tr -d ' \\n'
}

# unproven NAME KERNEL TARGETS: says for which other build of the running kernel, or of a module of it, this one was proven; fails when for this very one.
unproven() {
	if [ "$2" != - ] && [ -r /sys/kernel/notes ]; then
		case $(digits_of /sys/kernel/notes) in
		*"$2"*) ;;
		*)
			echo "$1 is proven for another build of this kernel ($2)"
			return 0
			;;
		esac
	fi
	[ "$3" != - ] || return 1
	for target in $(echo "$3" | tr , ' '); do
		# NAME:BUILD-ID:SRCVERSION, of which each may be missing.
		module=\${target%%:*} builds=\${target#*:}
		build=\${builds%%:*} source=\${builds#"$build"}
		source=\${source#:}
		notes=/sys/module/$module/notes/.note.gnu.build-id
		if [ -n "$build" ] && [ -r "$notes" ]; then
			case $(digits_of "$notes") in
			*"$build"*) continue ;;
			esac
		elif [ -n "$source" ] && [ -r "/sys/module/$module/srcversion" ]; then
			[ "$(cat "/sys/module/$module/srcversion")" = "$source" ] && continue
			build=$source
		else
			continue
		fi
		echo "$1 is proven for another build of the module $module ($build)"
		return 0
	done
	return 1
}

# same_code NAME DIGEST: the loaded module of that name is the one of this package.
same_code() {
	[ "$2" = - ] || [ ! -e "/sys/module/$1/notes/.note.gnu.build-id" ] && return 0
	[ "$(sha256sum <"/sys/module/$1/notes/.note.gnu.build-id" | cut -d ' ' -f 1)" = "$2" ]
}

activate() {
	name=$1 file=$2 note=$3
	if [ "$(cat "$livepatch/$name/enabled" 2>/dev/null)" = 1 ]; then
		if same_code "$name" "$note"; then
			record loaded "$name is loaded already"
		else
			record reboot "another build of $name is loaded; this one takes effect after a reboot"
			return 0
		fi
	else
		before=$(recorded version "$loaded_mark")
		module=$(recorded module "$loaded_mark")
		if [ -n "$before" ] && older "$version" "$before" && [ "$(cat "$livepatch/$module/enabled" 2>/dev/null)" = 1 ]; then
			record reboot "the newer version $before is loaded; $version takes effect after a reboot"
			return 0
		fi
		problem=$(load "$name" "$file")
		tries=0
		while [ "$tries" -lt 30 ] && [ "$(cat "$livepatch/$name/transition" 2>/dev/null)" = 1 ]; do
			sleep 1
			tries=$((tries + 1))
		done
		if [ "$(cat "$livepatch/$name/enabled" 2>/dev/null)" != 1 ]; then
			problem=$(echo "$problem" | tail -n 1 | tr -d '[:cntrl:]' | cut -c 1-200)
			record failed "$name could not be loaded: \${problem:-the kernel log says why}"
			return 0
		fi
		if [ "$(cat "$livepatch/$name/transition" 2>/dev/null)" = 1 ]; then
			record transition "$name is loaded, but some tasks still run the old code"
		else
			record loaded "$name is loaded"
		fi
	fi
	mkdir -p "\${loaded_mark%/*}" 2>/dev/null && printf 'version=%s\\nmodule=%s\\n' "$version" "$name" >"$loaded_mark"
}

install_modules() {
	before=$(recorded staged "$state")
	record staged "staged for its kernel" 2>/dev/null
	running=
	own_root && [ -d "$livepatch" ] && running=$(uname -r)
	while read -r release name payload staged note kernel targets; do
		[ -n "$release" ] || continue
		# Something else than kmend may load what is staged, and looks at no build.
		if [ "$release" = "$running" ] && problem=$(unproven "$name" "\${kernel:--}" "\${targets:--}"); then
			record failed "$problem"
			[ "$payload" = "$staged" ] || rm -f "$staged"
			continue
		fi
		stage "$release" "$payload" "$staged" || record failed "$staged could not be written"
	done <<-END
	$modules
	END
	# What an earlier version staged under another name is not to be loaded at the next boot.
	for old in $before; do
		echo "$modules" | grep -qF " $old " || rm -f "$old"
	done
	[ "$activate" = yes ] && [ -n "$running" ] || return 0
	while read -r release name payload staged note kernel targets; do
		[ "$release" = "$running" ] || continue
		unproven "$name" "\${kernel:--}" "\${targets:--}" >/dev/null || activate "$name" "$staged" "$note"
	done <<-END
	$modules
	END
	return 0
}

remove_modules() {
	while read -r release name payload staged _; do
		[ -n "$release" ] || continue
		unstage "$release" "$payload" "$staged"
		own_root && [ "$(cat "$livepatch/$name/enabled" 2>/dev/null)" = 1 ] && say "$name stays loaded until the next boot"
	done <<-END
	$modules
	END
	return 0
}

forget() {
	rm -f "$state" "$state.new"
	rmdir "\${state%/*}" /var/lib/kmend 2>/dev/null
	while read -r release name payload staged _; do
		[ -z "$release" ] || rmdir "\${staged%/*}" 2>/dev/null
	done <<-END
	$modules
	END
	return 0
}`;
