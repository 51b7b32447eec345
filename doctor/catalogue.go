package doctor

// Entry describes a check, for people and for docs/doctor.md.
type Entry struct {
	Check string
	Title string
	Looks string   // what is looked at, and when it fails
	Fixes []string // all that it may advise; {…} is filled in
}

const reportIt = "This is a fault of edgegw itself: send the output of edgegw doctor --json to whoever supports it."

// Fixes. What is to be done is said once, for the command and for the page that
// lists it.
const (
	persist       = "Put data_dir on persistent storage (a disk, or a named volume of the container): with a restart all sales that wait are gone."
	makeWritable  = "Make the file system of {path} writable for the user of the gateway, and see whether the disk is broken: dmesg, mount"
	noFolder      = "On a new box the first start makes it: edgegw run. Where this box has sold before, mount the disk that holds its data first, or correct data_dir."
	lyingDisk     = "If this is a virtual machine or a RAID controller, turn off its write cache, or give it a battery: what is said to be on disk must outlive a power cut."
	makeRoom      = "Make room on the file system of {path}, by removing what is not edgegw's, or lower store.min_free_bytes. Never remove edgegw.db or edgegw.db-wal."
	makeInodes    = "Remove small files that are not edgegw's from the file system of {path}: df -i {path}"
	mendModes     = "Take the rights of others away: chmod {mode} {path}"
	openData      = "Read the cause, mend it, and start again: edgegw run. Keep a copy of the data directory before anything else is tried."
	damaged       = "Stop the gateway, copy the data directory to another disk at once, and restore the last backup or call support. Check the disk: dmesg, smartctl"
	checkLater    = "Run edgegw doctor again while the site is quiet."
	stuckLog      = "End whatever else has {path} open (another program, a copy under way), then start the gateway again."
	setClock      = "Give the box a way to a time server (NTP, UDP port 123), and check the battery of its real-time clock. Sales are taken and sent all the while."
	noTimeSource  = "Let the box take its time from a time server: turn on systemd-timesyncd, chrony or ntpd."
	mendDNS       = "Check the box's name server (/etc/resolv.conf, DHCP, the router), and that {host} in {key} is spelled right: getent hosts {host}"
	mendRoute     = "Check cable, modem or SIM card, and the default route: ip route"
	mendProxy     = "Check openfiskal.proxy (or HTTPS_PROXY) and that the proxy runs and lets this box reach {host}."
	mendPort      = "Let the firewall or the router pass TCP to {address}, and check openfiskal.base_url."
	mendTrust     = "Something between the box and OpenFiskal shows a certificate of its own. If that is wanted, put its authority into openfiskal.ca_file; if not, have the firewall's TLS inspection taken off for {host}."
	mendTheirEnd  = "The other side must renew its certificate: tell OpenFiskal's support, or whoever runs the proxy. If the date of this box is wrong, set that first: date"
	mendTheirName = "Check openfiskal.base_url: {host} is answered by somebody whose certificate is for another name."
	mendTLS       = "See what answers on {address}: openssl s_client -connect {address}"
	otherHost     = "Give these registers keys for this host, or point openfiskal.base_url at the host that their keys are for: edgegw key set {register}"
	enterKey      = "Ask the back office for the register key, and enter it: edgegw key set {register} --key-stdin"
	newKey        = "Ask the back office for a new register key, and enter it: edgegw key set {register} --key-stdin"
	checkKey      = "It is asked about by itself when the link is there. To ask now: edgegw key check {register}"
	sealedKey     = "Give back the key-encryption key that sealed it (vault.kek, vault.kek_file, or the file kek from a backup), or enter the key anew: edgegw key set {register} --key-stdin"
	whyBlocked    = "See why, and who must act: edgegw explain {register}"
	whyWaits      = "It is tried again by itself. See why it waits: edgegw explain {register}"
	decide        = "Look at each and decide: edgegw quarantine list"
	booksWrong    = "Sales are taken and sent as before, but a count is wrong or a sale is missing. Keep a copy of the data directory and call support."
	startIt       = "Start it: edgegw run"
	mendPortHere  = "See who holds the port: ss -ltnp. Then start the gateway again, and check mqtt.tls_listen and the box's own firewall."
	notStored     = "Devices get no acknowledgement either: see what the checks of the disk and the database say, and the gateway's log; then start the gateway again."
	closePlain    = "Everybody on that network can read and change sales. Give devices mqtts:// with the site CA, then empty mqtt.plain_listen."
	closeHTTP     = "Set http.listen to 127.0.0.1:8080 and http.tls_listen to an address of the local network."
	renewCA       = "Every device must trust a new one: remove site-ca.pem and site-ca-key.pem from {path}, start the gateway again, and give each device the new site-ca.pem."
	renewServer   = "Mend the disk that holds {path} and the site CA's key: the certificate is made anew every hour by itself."
	renewOperator = "Put a new certificate and its key into mqtt.cert_file and mqtt.key_file: it is served from the next connection on."
	renewClient   = "Issue a new one and bring it to the device: edgegw device cert {device}"
	giveKEK       = "Put the key-encryption key back: vault.kek, vault.kek_file, or the file kek of the data directory from a backup. Until then sales are taken and wait."
	kekMode       = "Take the rights of others away: chmod 600 {path}"
	kekBeside     = "Keep a copy of {path} elsewhere. It guards a copied database, not a stolen box: a key given by vault.kek or vault.kek_file does more."
	moreMemory    = "Stop what else runs on the box, or give the container more memory (mem_limit)."
	moreFiles     = "Raise the limit of open files (LimitNOFILE= of systemd, ulimits: of compose) to at least {want}."
	notAVolume    = "Mount a volume at {path}: what lies in the container's own layer goes with the next update."
	notRoot       = "Run the gateway as a user of its own, who owns {path}: it needs no right of root."
	sameVersion   = "Start the gateway again so that it runs what is installed, or use the edgegw command of version {version}."
	replaced      = "Start the gateway again: the program on disk was replaced while it ran."
	seeStatus     = "See them, with the remedy of each: edgegw status"
	writeConfig   = "Write what this site needs into /etc/edgegw/edgegw.yaml, and name it with --config or EDGEGW_CONFIG if it lies elsewhere."
	hideConfig    = "It may hold a password: chmod 600 {path}"
)

// Catalogue is every check, in the order in which a person would go.
var Catalogue = []Entry{
	{"gateway_running", "The gateway runs", "whether a gateway has the data directory and answers on its socket", []string{startIt}},
	{"version", "One version everywhere", "the version of the command, of the gateway that runs, and whether its program was replaced on disk meanwhile", []string{sameVersion, replaced}},
	{"configuration", "The configuration", "which file is in use, and whether others may read it although it holds a password. Faults in it end every command with exit code 2 and are named there", []string{writeConfig, hideConfig}},

	{"data_persistent", "The data outlives a restart", "the file system of the data directory: tmpfs, ramfs and a container's own layer forget", []string{persist}},
	{"data_writable", "The disk can be written", "a file is written into the data directory, synced, read back and removed", []string{makeWritable, noFolder}},
	{"data_sync", "The disk syncs", "how long a sync takes: one that is faster than any disk may be none at all", []string{lyingDisk}},
	{"disk_space", "Free space", "free bytes on the file system of the data directory, against store.min_free_bytes; a notice below twice of that", []string{makeRoom}},
	{"disk_inodes", "Free inodes", "free inodes there: fewer than 1000 fail", []string{makeInodes}},
	{"file_modes", "File modes", "that nobody but the owner can read the database, the private keys and the socket, nor write into the data directory", []string{mendModes}},

	{"database_opens", "The database opens", "whether the data can be opened at all", []string{openData, startIt}},
	{"database_integrity", "The database is whole", "SQLite's quick_check over the whole file, for at most ten seconds", []string{damaged, checkLater}},
	{"wal_size", "The write-ahead log is short", "the size of edgegw.db-wal: a notice above 32 MiB, failed above 128 MiB", []string{stuckLog}},
	{"books", "The books balance", "that accepted = confirmed + waiting + quarantined + resolved, for each register", []string{booksWrong}},

	{"clock", "The time", "how far the box's clock can be believed, and how far it is from OpenFiskal's", []string{setClock}},
	{"clock_source", "The clock's source", "whether a time server keeps the clock right", []string{noTimeSource}},

	{"uplink_name", "The name of OpenFiskal", "that the host in openfiskal.base_url, or the proxy's, has an address (DNS)", []string{mendDNS}},
	{"uplink_route", "A way to the internet", "that the box has a route to that address", []string{mendRoute}},
	{"proxy", "The proxy", "where one is set: that it answers and passes connections to OpenFiskal", []string{mendProxy}},
	{"uplink_connect", "OpenFiskal's port answers", "a TCP connection to it", []string{mendPort}},
	{"uplink_tls", "OpenFiskal's certificate", "a TLS handshake, with the chain judged as every request judges it", []string{mendTrust, mendTheirEnd, mendTheirName, mendTLS}},
	{"uplink_certificate", "Its end", "when the first certificate of that chain ends: a notice in its last seven days", []string{mendTheirEnd}},

	{"key_host", "Keys and host agree", "that no live key is kept for a sandbox, nor a test key for the live service", []string{otherHost}},
	{"register_keys", "Register keys", "the key of each register that a device sells on, as it is stored: missing and refused fail; nobody is asked", []string{enterKey, newKey, checkKey}},
	{"kek", "The key-encryption key", "where it comes from, and that it is there; a notice where it lies beside the data", []string{giveKEK, kekMode, kekBeside}},
	{"keys_open", "Keys can be opened", "that every stored key opens with it", []string{sealedKey}},

	{"queues_blocked", "No queue is blocked", "queues that wait for a person, for another reason than their key", []string{whyBlocked}},
	{"queue_age", "Nothing waits long", "the oldest waiting call: a notice after one minute, failed after five", []string{whyWaits}},
	{"quarantine", "The quarantine is empty", "sales and messages that wait for a decision", []string{decide}},

	{"mqtt_listener", "The MQTT port answers", "a connection to the bound port, and that the certificate shown is the gateway's own", []string{mendPortHere}},
	{"mqtt_publish", "A message is acknowledged", "a client logs in and publishes; the acknowledgement comes after a real, synced commit. It is no device and no sale: its event is answered by the journal's canary", []string{notStored}},
	{"mqtt_plain", "MQTT only with TLS", "whether devices of other machines may connect without TLS", []string{closePlain}},
	{"http_plain", "The page only with TLS", "whether http.listen can be reached by other machines", []string{closeHTTP}},

	{"site_ca", "The site CA", "its end: a notice two years before, failed 180 days before", []string{renewCA}},
	{"server_certificate", "The server certificate", "that it could be renewed, and the end of an operator's own: a notice 30 days before, failed 14 days before", []string{renewServer, renewOperator}},
	{"client_certificates", "Client certificates", "the ends of those that devices log in with: a notice 30 days before, failed 14 days before", []string{renewClient}},

	{"memory", "Memory", "use against the limit of the container, or of the box: a notice above 80 %, failed above 95 %", []string{moreMemory}},
	{"descriptors", "Open files", "the limit of open files and how many are in use: failed below 1024 or above 80 % of it, a notice where mqtt.max_connections does not fit", []string{moreFiles}},
	{"container", "The container", "in a container: that the data directory is a mount", []string{notAVolume}},
	{"user", "Not as root", "the user of the gateway", []string{notRoot}},

	{"conditions", "Nothing else stands", "conditions of edgegw status that need somebody, but for those whose own check has failed", []string{seeStatus}},
}
