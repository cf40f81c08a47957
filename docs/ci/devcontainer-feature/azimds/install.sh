#!/bin/sh
# Installs the program azimds, which is to be in this folder, and what starts it with the container. Run as root while the image is
# built, with the feature's options as variables.
set -eu
here=$(dirname "$0")
credential=${CREDENTIAL:-auto}
owner=${OWNER:-${_REMOTE_USER:-root}}

if [ ! -x "$here/azimds" ]; then
	echo "the program azimds is not in the feature's folder: copy it there, for this architecture, before the feature is used" >&2
	exit 1
fi
for value in "$credential" "$owner"; do
	case $value in
	*[!A-Za-z0-9._-]*)
		echo "credential and owner are words of letters, digits and . _ -, and '$value' is none" >&2
		exit 1
		;;
	esac
done
mkdir -p /usr/local/bin /usr/local/share/azimds
cp "$here/azimds" /usr/local/bin/azimds
cat >/usr/local/share/azimds/start <<SCRIPT
#!/bin/sh
# Starts azimds, and then what the container is for, also where azimds could not be started: it has said why.
/usr/local/bin/azimds run --detach --credential $credential --user $owner ||
	echo "azimds does not run, for the reason above: programs in this container find no managed identity" >&2
exec "\$@"
SCRIPT
chmod 755 /usr/local/bin/azimds /usr/local/share/azimds/start
