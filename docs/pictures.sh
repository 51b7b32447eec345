#!/usr/bin/env bash
# Takes the pictures of docs/operations.md anew, from the running product in a real
# browser. Debian: apt-get install -y chromium fonts-dejavu-core
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
all=$(mktemp -d)
trap 'rm -rf "$all"' EXIT
EDGEGW_TEST_SCREENSHOTS=$all go test -count 1 -timeout 40m -run '^TestBrowser' ./cmd/edgegw
for name in claim overview new-device devices-pump-01 quarantine-1 people sale doctor-found backup support commissioning audit settings-preview settings-trial; do
	cp "$all/$name-390-en-light.png" "docs/pictures/$name.png"
done
for name in overview sales-found commissioning-report; do
	cp "$all/$name-1280-en-light.png" "docs/pictures/$name-desk.png"
done
