#!/bin/sh
# Checks rules, their tests and the two example configurations with Prometheus' and Alertmanager's own
# tools. Exits with 3 where they are not here; scripts/install-test-deps gets them where they can be had.
set -eu
cd "$(dirname "$0")"

tools=$PWD/../target/verifiers/prometheus/usr/bin
PATH=$tools:$PATH
command -v promtool >/dev/null && command -v amtool >/dev/null || exit 3

promtool check config --lint-fatal prometheus/prometheus.yml
promtool test rules prometheus/tests/*.yml
amtool check-config alertmanager/alertmanager.yml

# Who hears of what.
routed() {
    receiver=$1
    shift
    amtool config routes test --config.file=alertmanager/alertmanager.yml \
        --verify.receivers="$receiver" "$@" >/dev/null 2>&1 ||
        { echo "$* does not get to $receiver" >&2 && exit 1; }
}
routed pages alertname=OutboxdDown severity=page
routed tickets alertname=OutboxdEndpointFailing severity=ticket
