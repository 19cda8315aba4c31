#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# usage: OSS_FUZZ_CONTACT=ADDRESS fuzz/oss-fuzz/package.sh DIR     DIR: a checkout of google/oss-fuzz
#
# Writes projects/svcfuzz there, as a request to take the project in has it. OSS-Fuzz sends reports to the address, and
# asks that it is of somebody who commits here, and of a Google account, which alone can read them.
set -euo pipefail
cd "$(dirname "$0")"
contact=${OSS_FUZZ_CONTACT:-}
say() {
	echo "package.sh: $1" >&2
	exit 2
}

[ $# -eq 1 ] || say "the folder is missing; the form is: OSS_FUZZ_CONTACT=ADDRESS fuzz/oss-fuzz/package.sh DIR"
[ -n "$contact" ] || say "OSS_FUZZ_CONTACT is not set; set it to a committer's address that belongs to a Google account"
[[ $contact =~ ^[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+$ ]] ||
	say "OSS_FUZZ_CONTACT=$contact is no address; set it to a committer's that belongs to a Google account"
case $contact in
*.example | *.invalid | *.test | *@example.* | *noreply*)
	say "OSS_FUZZ_CONTACT=$contact takes no mail; set it to a committer's address that belongs to a Google account"
	;;
esac
[ -d "$1/projects" ] || say "$1 has no folder projects; name a checkout of google/oss-fuzz"

to=$1/projects/svcfuzz
mkdir -p "$to"
cp Dockerfile build.sh "$to/"
sed -e '/^# package.sh /d' -e "s/^primary_contact: \"\"$/primary_contact: \"$contact\"/" project.yaml >"$to/project.yaml"
git log --format=%ae | grep -Fxq "$contact" ||
	echo "note: nobody has committed as $contact here; OSS-Fuzz will ask for a proof that it is a committer's"
echo "wrote $to"
