package main

import (
	"strings"

	"github.com/alecthomas/kong"
)

// examples end the help of each command. A test parses every line of them, and
// finds a command without one.
var examples = map[string]string{
	"doctor":      "edgegw doctor\nedgegw doctor --json",
	"acknowledge": "edgegw acknowledge",
	"bench": `edgegw bench                 # the disk that data_dir lies on
edgegw bench /media/stick --pumps 38
edgegw bench --json > bench.json`,
	"commission": "edgegw commission\nedgegw commission --json > station-12.json",
	"backup": `edgegw backup -o /media/stick/station-12.backup
edgegw backup --passphrase-file /run/secrets/backup   # without anybody, each night`,
	"restore": `edgegw restore /media/stick/station-12.backup
edgegw restore station-12.backup --check              # only look whether it is whole`,
	"support-bundle": `edgegw support-bundle
edgegw support-bundle -o /media/stick/bundle.zip
edgegw support-bundle --json`,
	"demo": `edgegw demo
edgegw demo --for 30s --devices 12`,
	"run": `edgegw run
edgegw run --config /etc/edgegw/edgegw.yaml
edgegw run --set http.tls_listen=:8443`,
	"status": `edgegw status
edgegw status --check        # for monitoring: exit code 3 when somebody must look
edgegw status --json`,
	"history": `edgegw history
edgegw history --json`,
	"explain": `edgegw explain               # the site
edgegw explain pump-07
edgegw explain reg_01HXYZ
edgegw explain pump-07/4711  # one sale, with its story`,
	"audit": `edgegw audit
edgegw audit --who person:anna --from 2026-11-22
edgegw audit --subject pump-07 --json`,
	"export": `edgegw export --from 2026-11-01 --to 2026-12-01 -o november.zip
edgegw export -o all.zip --json`,
	"verify": `edgegw verify november.zip     # needs no gateway and no site
edgegw verify                  # the audit trail of this site
edgegw verify --head 5f0c…     # …, and that it still has a value noted before`,
	"device add": `edgegw device add pump-07 --register reg_01HXYZ --label 'Pump 7' --key-file key.txt
edgegw device add charger-1 --kind charger --register reg_01HABC --key-stdin
edgegw device add kiosk-1 --kind kiosk --register reg_01HDEF --cert --out /media/stick`,
	"device list": `edgegw device list
edgegw device list --for-rotation   # what to rotate when this box was stolen`,
	"device show":     `edgegw device show pump-07`,
	"device identify": `edgegw device identify pump-07`,
	"device test": `edgegw device test pump-07
edgegw device test pump-07 --payloads   # also what would be reported, sent and answered`,
	"device remove":      `edgegw device remove pump-07`,
	"device disable":     `edgegw device disable pump-07`,
	"device enable":      `edgegw device enable pump-07`,
	"device forget-gaps": `edgegw device forget-gaps pump-07`,
	"device replace": `edgegw device replace pump-07
edgegw device replace pump-07 --cert --out /media/stick`,
	"device password":     `edgegw device password pump-07`,
	"device cert":         `edgegw device cert pump-07 --out /media/stick`,
	"device forget-cards": `edgegw device forget-cards pump-07`,
	"device revoke": `edgegw device revoke pump-07
edgegw device revoke pump-07 --serial 1f0a   # the serial is in: edgegw device show`,
	"key set": `edgegw key set pump-07 --key-stdin
edgegw key set --register reg_01HXYZ --key-file key.txt
edgegw key set --platform --forget       # the site sends with register keys again`,
	"key check":  `edgegw key check pump-07`,
	"key issue":  `edgegw key issue pump-07 --key-file platform.key --organization org_01H`,
	"key rotate": `edgegw key rotate pump-07 --key-file platform.key --organization org_01H`,
	"import": `edgegw import devices.csv --credentials credentials.jsonl
edgegw import --recipient      # what bundles for this box are encrypted to
edgegw import bundle.age`,
	"token add": `edgegw token add back-office --scope provision --expires 90d
edgegw token add prometheus --scope metrics`,
	"token list":   `edgegw token list`,
	"token remove": `edgegw token remove AB3DEF5H   # the id is in: edgegw token list`,
	"claim": `edgegw claim
edgegw claim --reset         # nobody knows the owner: everybody's access ends, and it is claimed anew
edgegw claim --reset --yes   # without anybody to ask`,
	"person add": `edgegw person add tom --role technician --expires 14d   # a PIN is printed, this once
edgegw person add anna --role owner --password-stdin`,
	"person list":     `edgegw person list`,
	"person remove":   `edgegw person remove tom`,
	"person password": `edgegw person password anna`,
	"person sessions": `edgegw person sessions
edgegw person sessions --json`,
	"person logout": `edgegw person logout tom
edgegw person logout --session AB3DEF5H   # the id is in: edgegw person sessions`,
	"settings list": `edgegw settings
edgegw settings --json`,
	"settings set": `edgegw settings set mqtt.tls_listen=:8884
edgegw settings set 'site.name=Station 12' log.level=debug --yes`,
	"settings reset":   `edgegw settings reset mqtt.tls_listen`,
	"settings confirm": `edgegw settings confirm`,
	"settings undo":    `edgegw settings undo`,
	"settings history": `edgegw settings history`,
	"settings rollback": `edgegw settings rollback 3   # the number is in: edgegw settings history
edgegw settings rollback 0   # nothing is changed on this box any more`,
	"sales": `edgegw sales
edgegw sales --device pump-07 --state waiting
edgegw sales --amount 76.22 --from 2026-11-22 --to 2026-11-23
edgegw sales --receipt 2026-000123
edgegw sales --sale 4711 --json`,
	"sale": `edgegw sale pump-07/4711
edgegw sale pump-07/4711 --payloads   # also what was reported, sent and answered`,
	"quarantine list": `edgegw quarantine list
edgegw quarantine list --all --device pump-07`,
	"quarantine show":  `edgegw quarantine show 3`,
	"quarantine retry": `edgegw quarantine retry 3 --reason 'the tax rate is there now'`,
	"quarantine resolve": `edgegw quarantine resolve 3 --reason 'entered by hand'
edgegw quarantine resolve 3 --reason 'entered by hand' --operation op_01H`,
	"quarantine discard": `edgegw quarantine discard 3 --reason 'a test of the pump'`,
	"sandbox": `edgegw sandbox
edgegw sandbox --key-dir keys --register reg_1:DE --register reg_2:AT`,
	"simulate": `edgegw simulate --credentials login.json --sales 10   # login.json: edgegw device add … --json
edgegw simulate --url mqtts://192.168.1.20:8883 --ca-file site-ca.pem --device pump-07:password.txt --for 5m`,
	"completion": `source <(edgegw completion bash)                               # this shell
edgegw completion bash > /etc/bash_completion.d/edgegw         # every bash
edgegw completion zsh > /usr/share/zsh/site-functions/_edgegw  # every zsh
edgegw completion fish > ~/.config/fish/completions/edgegw.fish`,
	"healthcheck": `edgegw healthcheck   # exit code 1 where it does not do its job`,
	"version":     `edgegw version`,
}

// withExamples puts them into kong's model.
func withExamples(k *kong.Kong) error {
	for _, leaf := range k.Model.Leaves(true) {
		if text := examples[commandName(leaf)]; text != "" {
			leaf.Detail = "Examples:\n\n  " + strings.ReplaceAll(text, "\n", "\n  ")
		}
	}
	return nil
}

// commandName is what a person types: device add.
func commandName(leaf *kong.Node) string {
	name := leaf.Name
	for up := leaf.Parent; up != nil && up.Parent != nil; up = up.Parent {
		name = up.Name + " " + name
	}
	return name
}
