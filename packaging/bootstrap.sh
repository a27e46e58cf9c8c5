#!/bin/sh
# Brushcast on macOS and Linux, from nothing: finds a Python, fetches the program, sets it up.
#
#   sh bootstrap.sh [--from URL-OR-FOLDER-OR-TAR.GZ] [--into FOLDER] [--version TAG] [--obs] [--yes]
#
# --from     where the program comes from: a git repository, or a release's .tar.gz on this machine
# --into     where it is put (default: ~/.local/share/brushcast-app; macOS: ~/brushcast-app)
# --version  a tag or branch of the repository
# --obs      registers the script with OBS afterwards (asks unless --yes is given)
# --torch    which build of PyTorch, as for `python3 -m installer setup`
#
# A second run brings the program up to date. `python3 -m installer uninstall` takes all of it away.
set -eu

from=${BRUSHCAST_FROM:-}
into=
version=
obs=ask
yes=
torch=

fail() {
	printf '%s\n' "$1" >&2
	exit "${2:-1}"
}

usage() {
	sed -n '2,14s/^# \{0,1\}//p' "$0"
}

need_value() {
	[ "$2" -ge 2 ] || fail "$1 wants a value." 2
}

while [ $# -gt 0 ]; do
	case $1 in
	--from) need_value "$1" $# && from=$2 && shift ;;
	--into) need_value "$1" $# && into=$2 && shift ;;
	--version) need_value "$1" $# && version=$2 && shift ;;
	--torch) need_value "$1" $# && torch=$2 && shift ;;
	--obs) obs=yes ;;
	--no-obs) obs=no ;;
	--yes) yes=--yes ;;
	-h | --help) usage && exit 0 ;;
	*) fail "There is no option $1 (--help lists them)." 2 ;;
	esac
	shift
done

[ -n "${HOME:-}" ] || fail "HOME is not set."
[ -n "$from" ] || fail "Where is Brushcast to come from? Give --from with its repository or a release's .tar.gz." 2

case $(uname -s) in
Darwin) default=$HOME/brushcast-app ;;
Linux) default=${XDG_DATA_HOME:-$HOME/.local/share}/brushcast-app ;;
*) fail "This script knows Linux and macOS; here it is $(uname -s)." ;;
esac
into=${into:-$default}

# --- a Python of 3.11 or newer, with venv and ensurepip
python=
seen=
for name in python3.13 python3.12 python3.11 python3.14 python3 /opt/homebrew/bin/python3 /usr/local/bin/python3; do
	command -v "$name" >/dev/null 2>&1 || continue
	seen="$seen $name"
	if "$name" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
		python=$name
		break
	fi
done
if [ -z "$python" ]; then
	if [ "$(uname -s)" = Darwin ]; then
		how="install one from python.org or with 'brew install python@3.12'"
	elif command -v apt-get >/dev/null 2>&1; then
		how="sudo apt-get install python3 python3-venv"
	elif command -v dnf >/dev/null 2>&1; then
		how="sudo dnf install python3"
	elif command -v pacman >/dev/null 2>&1; then
		how="sudo pacman -S python"
	else
		how="install it with your system's packages"
	fi
	fail "Brushcast needs Python 3.11 or newer with its venv module (seen:${seen:- none}): $how, then run this again."
fi
printf 'Python: %s (%s)\n' "$("$python" -V 2>&1)" "$(command -v "$python")"

# --- the program
mark=$into/.brushcast-bootstrap
if [ -e "$into" ] && [ ! -e "$mark" ] && [ -n "$(ls -A "$into" 2>/dev/null)" ]; then
	fail "$into is there already and was not made by this script: choose another folder with --into."
fi
mkdir -p "$(dirname "$into")"
case $from in
*.tar.gz | *.tgz)
	[ -f "$from" ] || fail "There is no $from."
	# Beside its place first: what breaks off leaves the old program as it was.
	part=$into.part
	rm -rf "$part"
	mkdir -p "$part"
	trap 'rm -rf "$part"' EXIT INT TERM HUP
	tar -xzf "$from" -C "$part" --strip-components=1 || fail "$from cannot be unpacked."
	[ -f "$part/installer/__main__.py" ] || fail "$from is no release of Brushcast: it has no installer."
	[ ! -d "$into/.venv" ] || mv "$into/.venv" "$part/.venv"
	rm -rf "$into"
	mv "$part" "$into"
	trap - EXIT INT TERM HUP
	;;
*)
	command -v git >/dev/null 2>&1 || fail "git is missing, and $from is no .tar.gz: install git, then run this again."
	if [ -d "$into/.git" ]; then
		git -C "$into" fetch --quiet --tags "$from" "${version:-HEAD}" || fail "$from cannot be fetched."
		git -C "$into" checkout --quiet --detach FETCH_HEAD || fail "$into holds changes of yours: commit or undo them first."
	else
		git clone --quiet ${version:+--branch "$version"} -- "$from" "$into" || fail "$from cannot be cloned."
	fi
	[ -f "$into/installer/__main__.py" ] || fail "$from is no Brushcast: it has no installer."
	;;
esac
: >"$mark"
printf 'Brushcast is in %s\n' "$into"

# --- its environment
cd "$into"
"$python" -m installer setup ${torch:+--torch "$torch"}

# --- OBS
if [ "$obs" = ask ]; then
	obs=no
	# Only where somebody can answer; with `curl | sh` standard input is the script itself.
	if [ -t 0 ] && [ -z "$yes" ]; then
		printf 'Register the script with OBS now? OBS must be closed. [y/N] '
		read -r answer || answer=
		case $answer in [yY] | [yY][eE][sS]) obs=yes ;; esac
	fi
fi
if [ "$obs" = yes ]; then
	"$python" -m installer obs ${yes:+"$yes"} || printf 'OBS is as it was. Later: cd %s && %s -m installer obs\n' "$into" "$python"
fi
printf 'Start it:   cd %s && %s -m installer run\n' "$into" "$python"
printf 'Inside OBS: cd %s && %s -m installer obs\n' "$into" "$python"
