#!/bin/sh
# Checks the units as systemd reads them, in a throwaway root with stand-ins for what they start.
# Silent but for the two exposure levels, which have to stay below 1.5.
set -eu

here=$(dirname "$0")
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
units=$root/usr/lib/systemd/system

mkdir -p "$units" "$root/usr/bin" "$root/usr/lib/sysusers.d" "$root/bin"
cp -a "$here"/outboxd*.service "$here"/outboxd@.service.d "$units"
cp -a /usr/lib/systemd/system/*.target /usr/lib/systemd/system/*.slice "$units"
cp "$here/sysusers.d/outboxd.conf" "$root/usr/lib/sysusers.d"
for program in usr/bin/outboxd bin/sh; do
    printf '#!/bin/sh\n' > "$root/$program"
    chmod +x "$root/$program"
done

systemd-sysusers --dry-run --root="$root" outboxd.conf > "$root/users" 2>&1 ||
    { cat "$root/users" && exit 1; }
complaints=$(systemd-analyze verify --man=no --root="$root" outboxd.service outboxd@shop.service 2>&1)
[ -z "$complaints" ] || { echo "$complaints" && exit 1; }
for unit in outboxd.service outboxd@shop.service; do
    exposure=$(systemd-analyze security --offline=true --threshold=15 --no-pager --root="$root" "$unit") ||
        { echo "$exposure" && exit 1; }
    echo "$exposure" | grep 'exposure level'
done
