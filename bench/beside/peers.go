package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
)

// peer is a broker that is measured.
type peer struct {
	key, title string
	promise    string // what its PUBACK says, for the table
	durable    bool   // every acknowledged message must be in its files
	queues     bool   // it keeps messages only for a subscriber that is away
	fresh      bool   // it begins anew for each turn: it writes all that waits again with each change
	command    func(o options, dir string, port int) ([]string, error)
	login      func(ctx context.Context, dir string, n int) (loginList, error) // nil: it lets everybody in
}

func (p peer) name() string { return p.key }

// product is the key of what the others are compared with.
const (
	product = "edgegw"
	raw     = "raw"
	always  = "nats-always"
	mochi   = "mochi"
)

var allPeers = []peer{
	{key: "mosquitto", title: "mosquitto, no persistence", promise: "in memory", command: mosquittoCommand(false)},
	{key: "mosquitto-persist", title: "mosquitto, persistence, saved on each change", promise: "in memory; saved soon", queues: true, fresh: true, command: mosquittoCommand(true)},
	{key: "nats", title: "NATS MQTT + JetStream, default `sync_interval` (2 min)", promise: "in a file, not synced", queues: true, command: natsCommand("")},
	{key: always, title: "NATS MQTT + JetStream, `sync_interval: always`", promise: "**on disk**", durable: true, queues: true, command: natsCommand("always")},
	{key: mochi, title: "mochi, nothing stored", promise: "in memory", command: ourCommand(mochi)},
	{key: raw, title: "our broker on a raw preallocated log", promise: "**on disk**", durable: true, command: ourCommand(raw), login: rawLogins},
	{key: product, title: "edgegw", promise: "**on disk**, checked, queued", durable: true, command: edgegwCommand, login: edgegwLogins},
}

// mosquittoCommand writes a configuration. Its defaults would queue 1,000 messages for
// who is away, drop what comes after and acknowledge it all the same.
func mosquittoCommand(persist bool) func(options, string, int) ([]string, error) {
	return func(o options, dir string, port int) ([]string, error) {
		text := fmt.Sprintf("listener %d 127.0.0.1\nallow_anonymous true\nlog_type error\nmax_queued_messages 0\nmax_inflight_messages 0\nuser root\n", port)
		if persist {
			text += fmt.Sprintf("persistence true\npersistence_location %s/\nautosave_on_changes true\nautosave_interval 1\n", dir)
		}
		file := filepath.Join(dir, "mosquitto.conf")
		return []string{o.mosquitto, "-c", file}, os.WriteFile(file, []byte(text), 0o600)
	}
}

// natsCommand writes a configuration; sync is empty for the default.
func natsCommand(sync string) func(options, string, int) ([]string, error) {
	return func(o options, dir string, port int) ([]string, error) {
		line := ""
		if sync != "" {
			line = "\n  sync_interval: " + sync
		}
		other, err := freePort()
		if err != nil {
			return nil, err
		}
		text := fmt.Sprintf("server_name: beside\nlisten: 127.0.0.1:%d\njetstream {\n  store_dir: %q%s\n}\nmqtt {\n  listen: 127.0.0.1:%d\n}\n", other, filepath.Join(dir, "jetstream"), line, port)
		file := filepath.Join(dir, "nats.conf")
		return []string{o.nats, "-c", file}, os.WriteFile(file, []byte(text), 0o600)
	}
}

// ourCommand is this program again, as a broker.
func ourCommand(kind string) func(options, string, int) ([]string, error) {
	return func(o options, dir string, port int) ([]string, error) {
		self, err := os.Executable()
		return []string{self, "-serve", kind, "-dir", dir, "-addr", "127.0.0.1:" + strconv.Itoa(port), "-devices", strconv.Itoa(mostDevices)}, err
	}
}

// edgegwCommand is the product as it is shipped, but for limits that the load would meet,
// and without an uplink.
func edgegwCommand(o options, dir string, port int) ([]string, error) {
	args := []string{o.edgegw, "run", "--config", filepath.Join(dir, "none.yaml")}
	for _, one := range [][2]string{
		{"site.name", "beside"}, {"data_dir", filepath.Join(dir, "data")}, {"allow_volatile_data", "true"}, {"store.min_free_bytes", "0"}, {"log.level", "warn"},
		{"mqtt.tls_listen", ""}, {"mqtt.plain_listen", "127.0.0.1:" + strconv.Itoa(port)}, {"mqtt.max_connections_per_address", strconv.Itoa(2*mostDevices + 100)},
		{"mqtt.messages_per_second", "1000000"}, {"http.listen", ""}, {"http.tls_listen", ""},
		{"openfiskal.base_url", "https://127.0.0.1:9"}, {"openfiskal.proxy", "none"},
	} {
		args = append(args, "--set", one[0]+"="+one[1])
	}
	return args, os.WriteFile(filepath.Join(dir, "none.yaml"), nil, 0o600)
}
