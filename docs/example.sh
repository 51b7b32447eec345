#!/usr/bin/env bash
# The worked example of device-contract.md, from end to end, with the same
# commands: the stand-in for OpenFiskal, a gateway, one device, and
# mosquitto_pub and mosquitto_sub as its firmware. Ends with 0 only if every
# receipt came. Needs mosquitto-clients, curl and jq, and the loopback ports
# below; works in a temporary folder of its own and leaves nothing behind.
set -euo pipefail

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
api=${EXAMPLE_API:-127.0.0.1:8443}
mqtt=${EXAMPLE_MQTT:-127.0.0.1:8883}
page=${EXAMPLE_PAGE:-127.0.0.1:8080}

for tool in mosquitto_pub mosquitto_sub mosquitto_rr curl jq; do
	command -v "$tool" >/dev/null || { echo "$tool is missing (Debian: mosquitto-clients, curl, jq)"; exit 1; }
done

dir=$(mktemp -d)
children=()
leave() {
	for pid in "${children[@]}"; do
		kill "$pid" 2>/dev/null || true
		wait "$pid" 2>/dev/null || true
	done
	rm -rf "$dir"
}
trap leave EXIT

say() { printf '\n== %s\n' "$*"; }
fail() {
	printf '\nFAILED: %s\n' "$*"
	cat "$dir/run.log" || true
	exit 1
}
wants() { # wants WHAT FILTER EXPECTED FILE: what jq finds in FILE must be EXPECTED
	local got
	got=$(jq -r "$2" "$4") || fail "$1: that is no JSON"
	[ "$got" = "$3" ] || fail "$1: got $got, want $3"
}
until_works() { # until_works WHAT COMMAND…: for at most 20 s
	local what=$1 deadline=$((SECONDS + 20))
	shift
	until "$@" >/dev/null 2>&1; do
		[ $SECONDS -lt $deadline ] || fail "$what did not come"
		read -rt 0.1 <> <(:) || true # a tenth of a second
	done
}

go build -C "$repo" -o "$dir/edgegw" ./cmd/edgegw
cd "$dir"
PATH=$dir:$PATH

say "the stand-in for OpenFiskal"
edgegw sandbox --listen "$api" --register reg_1:DE --key-dir keys >sandbox.txt &
children+=($!)
until_works "the stand-in" grep -q 'A gateway uses it with' sandbox.txt
cat sandbox.txt

say "the gateway"
cat >edgegw.yaml <<END
site:
  name: Try-out
data_dir: ./data
allow_volatile_data: true # a trial may lie on a tmpfs
mqtt:
  tls_listen: $mqtt
http:
  listen: $page
openfiskal:
  base_url: https://$api/v1
  ca_file: keys/openfiskal-ca.pem
END
edgegw run 2>run.log &
children+=($!)
until_works "the gateway" curl -sf "http://$page/readyz"

say "a device"
edgegw device add pump-01 --register reg_1 --label "Pump 1" --key-file keys/reg_1.key --json >pump-01.json
jq 'del(.password)' pump-01.json
as=(-h "${mqtt%:*}" -p "${mqtt##*:}" --cafile data/site-ca.pem -i pump-01 -u pump-01 -P "$(jq -r .password pump-01.json)")
me=edgegw/v1/pump-01

say "a whole sale, MQTT 5, QoS 1"
cat >sale.json <<'END'
{"sale_id": "4711", "seq": 1, "currency": "EUR",
 "started_at": "2026-11-22T08:31:07+01:00", "occurred_at": "2026-11-22T08:33:40+01:00",
 "line_items": [{"description": "Super E10", "product_ref": "E10", "quantity": "42.37", "unit": "l",
   "unit_price": "1.799", "amount": 7622, "tax": {"rate": "0.19", "category": "standard"}}],
 "payments": [{"method": "card", "direction": "inbound", "amount": 7622, "card": {"scheme": "visa", "last4": "4242"}}]}
END
mosquitto_pub "${as[@]}" -V 5 -q 1 -t $me/sale -f sale.json -d
mosquitto_sub "${as[@]}" -V 5 -q 1 -t $me/receipt -C 1 -W 20 >receipt.json || fail "the receipt of 4711 did not come"
jq . receipt.json
wants "the receipt of 4711" '"\(.sale_id) \(.state) \(.fiscal_state)"' "4711 completed succeeded" receipt.json

say "the same sale again, with an answer on a topic of our choice"
mosquitto_rr "${as[@]}" -V 5 -q 1 -t $me/sale -e $me/answer -W 10 -m "$(cat sale.json)" | tee ack.json
wants "the same sale again" .status duplicate ack.json

say "the same sale with another content"
mosquitto_rr "${as[@]}" -V 5 -q 1 -t $me/sale -e $me/answer -W 10 -m "$(sed 's/Super E10/Super E5/' sale.json)" | tee ack.json
wants "another content" .status conflict ack.json

say "a sale that can never be one"
mosquitto_rr "${as[@]}" -V 5 -q 1 -t $me/sale -e $me/answer -W 10 -m "$(sed 's/"amount": 7622, "card"/"amount": 7600, "card"/; s/4711/4712/' sale.json)" 2>warning.txt | tee ack.json
cat warning.txt
wants "a bad sale" '"\(.status) \(.error.code) \(.error.field)"' "quarantined payments_mismatch /payments" ack.json

say "start, update and complete, MQTT 3.1.1"
mosquitto_pub "${as[@]}" -V 311 -q 1 -t $me/sale/start -m '{"sale_id": "4713", "seq": 2, "occurred_at": "2026-11-22T09:00:00+01:00", "currency": "EUR"}'
mosquitto_pub "${as[@]}" -V 311 -q 1 -t $me/sale/update -m '{"sale_id": "4713", "seq": 3, "occurred_at": "2026-11-22T09:10:00+01:00",
  "line_items": [{"description": "Charging", "quantity": "12.5", "unit": "kWh", "unit_price": "0.59", "amount": 738, "tax": {"rate": "0.19", "category": "standard"}}]}'
mosquitto_pub "${as[@]}" -V 311 -q 1 -t $me/sale/complete -m '{"sale_id": "4713", "seq": 4, "occurred_at": "2026-11-22T09:20:00+01:00",
  "line_items": [{"description": "Charging", "quantity": "20", "unit": "kWh", "unit_price": "0.59", "amount": 1180, "tax": {"rate": "0.19", "category": "standard"}}],
  "payments": [{"method": "card", "direction": "inbound", "amount": 1180}]}'
mosquitto_sub "${as[@]}" -V 311 -q 1 -t $me/receipt -C 1 -W 20 >receipt.json || fail "the receipt of 4713 did not come"
wants "the receipt of 4713" '"\(.sale_id) \(.state)"' "4713 completed" receipt.json
jq -c 'del(.fiscal)' receipt.json

say "OpenFiskal does not answer"
cloud=(--cacert keys/openfiskal-ca.pem -sS)
curl "${cloud[@]}" "https://$api/_sandbox/faults" -d '{"action": "refuse"}'
mosquitto_pub "${as[@]}" -V 5 -q 1 -t $me/sale -m "$(sed 's/4711/4714/; s/"seq": 1/"seq": 5/' sale.json)"
until_works "the news that a call was not confirmed" bash -c 'edgegw status --json | jq -e ".registers[0].state == \"retrying\""'
edgegw status
curl "${cloud[@]}" -X DELETE "https://$api/_sandbox/faults"
mosquitto_sub "${as[@]}" -V 5 -q 1 -t $me/receipt -C 1 -W 90 >receipt.json || fail "the receipt of 4714 did not come"
wants "the receipt of 4714" '"\(.sale_id) \(.state)"' "4714 completed" receipt.json
jq -c 'del(.fiscal)' receipt.json
curl "${cloud[@]}" "https://$api/_sandbox/ledger" | jq -c .totals | tee ledger.json
wants "the stand-in's ledger" .completed 3 ledger.json

say "a receipt once more"
mosquitto_pub "${as[@]}" -V 5 -q 1 -t $me/receipt/get -m '{"sale_id": "4711"}'
mosquitto_sub "${as[@]}" -V 5 -q 1 -t $me/receipt -C 1 -W 20 >receipt.json || fail "the receipt of 4711 did not come again"
wants "the receipt of 4711" .sale_id 4711 receipt.json
jq -c 'del(.fiscal)' receipt.json

say "what the site says"
mosquitto_sub "${as[@]}" -V 5 -q 1 -t 'edgegw/v1/site/#' -C 2 -W 10 -v

say "what the gateway holds"
edgegw sales
edgegw status --json | jq .totals >totals.json
wants "the totals" '"\(.accepted) \(.confirmed) \(.refused) \(.receipts)"' "3 3 2 0" totals.json

say "every receipt came"
