package page

import "edgegw/admin"

// settingMeans is what a value is for.
func (l lang) settingMeans(s admin.Setting) string {
	if text := settingsInGerman[s.Key]; l == german && text != "" {
		return text
	}
	return s.Description
}

// settingWord translates a word of the API about settings.
func (l lang) settingWord(word string) string {
	if texts, ok := settingWords[word]; ok {
		return texts[map[lang]int{english: 0, german: 1}[l]]
	}
	return word
}

// settingWords are words of the API in English and in German: sections, sources,
// effects, and what happened.
var settingWords = map[string][2]string{
	"site": {"Site", "Standort"}, "data": {"Data", "Daten"}, "mqtt": {"Devices (mqtt)", "Geräte (mqtt)"}, "openfiskal": {"OpenFiskal", "OpenFiskal"},
	"http": {"Page and API (http)", "Seite und API (http)"}, "vault": {"Key-encryption key (vault)", "Schlüssel-Schlüssel (vault)"}, "store": {"Disk (store)", "Datenträger (store)"}, "log": {"Log", "Protokoll"},

	"default": {"default", "Vorgabe"}, "file": {"configuration file", "Konfigurationsdatei"}, "settings": {"changed here", "hier geändert"}, "environment": {"environment", "Umgebung"}, "flag": {"command line", "Befehlszeile"},
	"set": {"set", "gesetzt"},

	admin.EffectRestart:    {admin.SettingEffects[admin.EffectRestart], "Das Gateway beginnt neu, in einigen Sekunden. Geräte werden getrennt und kommen von selbst wieder; nichts, was bestätigt war, geht verloren."},
	admin.EffectDevices:    {admin.SettingEffects[admin.EffectDevices], "Den Geräten muss die neue Adresse gesagt werden; vorher erreichen sie das Gateway nicht."},
	admin.EffectPage:       {admin.SettingEffects[admin.EffectPage], "Diese Seite und die API sind dann unter der neuen Adresse. Bestätigen Sie dort."},
	admin.EffectOpenFiskal: {admin.SettingEffects[admin.EffectOpenFiskal], "Verkäufe und Schlüssel der Kassen gehen an einen anderen Ort."},
	admin.EffectNextStart:  {admin.SettingEffects[admin.EffectNextStart], "Es läuft kein Gateway: Es gilt beim nächsten Start und wird nicht von selbst zurückgenommen."},

	admin.SettingsTried: {"began, on trial", "begonnen, auf Probe"}, admin.SettingsConfirmed: {"confirmed", "bestätigt"}, admin.SettingsUndone: {"undone by a person", "von Hand zurückgenommen"},
	admin.SettingsExpired: {"undone: nobody confirmed it in time", "zurückgenommen: niemand hat es rechtzeitig bestätigt"}, admin.SettingsInterrupted: {"undone: the gateway ended before it was confirmed", "zurückgenommen: das Gateway endete vor der Bestätigung"},
	admin.SettingsFailed: {"undone: the gateway could not begin with it", "zurückgenommen: das Gateway konnte damit nicht beginnen"}, admin.SettingsWritten: {"written for the next start", "für den nächsten Start geschrieben"},
	admin.SettingsSetAside: {"could not be used, and was set aside", "nicht zu gebrauchen und beiseitegelegt"},
}

// settingsInGerman are what values are for.
var settingsInGerman = map[string]string{
	"site.name":                        "Name des Standorts, der überall steht",
	"data_dir":                         "Datenbank, Zertifizierungsstelle und Socket; auf einem Datenträger, der einen Neustart übersteht",
	"mqtt.tls_listen":                  "Adresse für Geräte mit TLS; leer ist aus",
	"mqtt.plain_listen":                "Adresse für Geräte ohne TLS; leer ist aus",
	"mqtt.cert_file":                   "Zertifikatskette (PEM) für die Adresse mit TLS; wird neu gelesen, wenn sie sich ändert",
	"mqtt.key_file":                    "privater Schlüssel (PEM) dazu, Modus 0600",
	"mqtt.tls_hosts":                   "weitere Namen und Adressen im Zertifikat dieses Standorts, durch Kommas getrennt",
	"mqtt.max_connections":             "höchstens so viele Verbindungen zugleich",
	"mqtt.max_connections_per_address": "höchstens so viele Verbindungen von einer Adresse; 0 ist die Hälfte von mqtt.max_connections",
	"mqtt.max_packet_bytes":            "längstes MQTT-Paket",
	"mqtt.messages_per_second":         "Meldungen je Sekunde und Gerät; mehr werden langsamer gelesen, keine geht verloren",
	"openfiskal.base_url":              "Adresse der API von OpenFiskal; http:// nur für dieses Gerät selbst",
	"openfiskal.ca_file":               "Zertifizierungsstellen (PEM), denen für OpenFiskal vertraut wird",
	"openfiskal.proxy":                 "system, none oder die Adresse eines HTTP-Proxys",
	"openfiskal.timeout":               "längste Zeit für einen Versuch",
	"openfiskal.concurrency":           "höchstens so viele Anfragen zugleich, alle Kassen zusammen",
	"openfiskal.requests_per_second":   "höchstens so viele Anfragen je Sekunde für den Standort",
	"openfiskal.idempotency_window":    "wie lange eine Anfrage, deren Ausgang unklar ist, noch einmal gesendet werden darf, wo sie nicht nachgesehen werden kann",
	"openfiskal.on_rejected":           "was die Warteschlange tut, wenn ein Verkauf endgültig abgelehnt wird: step_over geht weiter, block wartet",
	"openfiskal.topology":              "device_direct: jede Kasse mit eigenem Schlüssel; server_side: ein Plattform-Schlüssel für alle",
	"openfiskal.organization":          "Organisation, für die ein Plattform-Schlüssel handelt (org_…)",
	"http.listen":                      "Adresse von Seite, API und Metriken ohne TLS; leer ist aus",
	"http.tls_listen":                  "dasselbe mit TLS, auch für Programme mit Token; leer ist aus",
	"vault.kek":                        "Schlüssel-Schlüssel: 32 Byte, hexadezimal oder base64",
	"vault.kek_file":                   "Datei mit dem Schlüssel-Schlüssel, Modus 0600",
	"vault.previous_kek":               "der vorige Schlüssel-Schlüssel, bis alles neu versiegelt ist",
	"vault.previous_kek_file":          "Datei damit, Modus 0600",
	"store.min_free_bytes":             "freier Platz, unter dem Geräten gesagt wird, dass es knapp wird",
	"store.mirror_dir":                 "Ordner des zweiten Journals, aus dem eine beschädigte Datenbank neu aufgebaut wird; am besten auf einem anderen Datenträger",
	"store.mirror_bytes":               "Größe des zweiten Journals; 0 ist aus",
	"store.retain_confirmed":           "wie lange bestätigte Verkäufe aufgehoben werden; ungesendete werden nie entfernt",
	"allow_volatile_data":              "lässt das Datenverzeichnis auf tmpfs oder overlay zu",
	"log.level":                        "debug, info, warn oder error",
	"log.format":                       "text oder json",
}

// fixedInGerman are why values cannot be changed on the box.
var fixedInGerman = map[string]string{
	"data_dir":                "Die Einstellungen selbst liegen darin: in der Konfigurationsdatei setzen.",
	"allow_volatile_data":     "Die Daten könnten dann liegen, wo ein Neustart sie löscht: in der Konfigurationsdatei setzen.",
	"mqtt.cert_file":          "Wer das Zertifikat auf das Gerät legt, nennt seine Datei in der Konfigurationsdatei.",
	"mqtt.key_file":           "Wer den Schlüssel auf das Gerät legt, nennt seine Datei in der Konfigurationsdatei.",
	"openfiskal.topology":     "Es ändert, was die Schlüssel dieses Standorts bedeuten, und braucht andere Schlüssel: in der Konfigurationsdatei setzen.",
	"openfiskal.organization": "Es sagt, für wen ein Plattform-Schlüssel handelt, und gehört zu openfiskal.topology: in der Konfigurationsdatei setzen.",
	"vault.kek":               "Er ist geheim und öffnet jeden Schlüssel einer Kasse: am besten in der Umgebung setzen.",
	"vault.kek_file":          "Er öffnet jeden Schlüssel einer Kasse; ihn zu wechseln ist eine Aufgabe für sich.",
	"vault.previous_kek":      "Er ist geheim und öffnet jeden Schlüssel einer Kasse: am besten in der Umgebung setzen.",
	"vault.previous_kek_file": "Er öffnet jeden Schlüssel einer Kasse; ihn zu wechseln ist eine Aufgabe für sich.",
}
