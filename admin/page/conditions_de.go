package page

import (
	"html/template"
	"strings"

	"edgegw/health"
)

// inWords is a condition as a person reads it. Beneath is the gateway's own wording
// where that says more: in another language only what its code says is translated.
type inWords struct {
	health.Condition
	Title, Remedy template.HTML
	Beneath       string
	Open          string // the page where it can be seen to; "" where there is none
}

// seenTo is where. Of a device it is the device's own page.
var seenTo = map[string]string{
	"sale_quarantined": "/quarantine", "queue_blocked": "/quarantine", "messages_refused": "/quarantine",
	"card_data": "/devices/", "seq_gap": "/devices/", "device_fight": "/devices/",
	"key_missing": "/devices", "key_refused": "/devices", "key_sealed": "/devices", "key_pending": "/devices", "key_new_refused": "/devices", "key_unverified": "/devices", "restored_unread": "/quarantine", "key_request_lost": "/devices",
	"settings_unconfirmed": "/settings", "settings_undone": "/settings/history", "settings_damaged": "/settings/history",
}

// condition puts a condition into the language of the page.
func (l lang) condition(c health.Condition) inWords {
	w := inWords{Condition: c, Open: seenTo[c.Code], Title: l.orText(c.TitleWords, c.Title), Remedy: l.orText(c.RemedyWords, c.Remedy)}
	if strings.HasSuffix(w.Open, "/") {
		w.Open += c.Affected
	}
	german, known := conditionsInGerman[c.Code]
	switch {
	case l == english:
	case !c.TitleWords.Empty():
		w.Remedy = stopped(w.Remedy)
	case known:
		w.Beneath = c.Title + ". " + c.Remedy
		w.Title, w.Remedy = template.HTML(template.HTMLEscapeString(german[0])), template.HTML(template.HTMLEscapeString(german[1]))
	}
	return w
}

// stopped ends with a full stop.
func stopped(html template.HTML) template.HTML {
	if html == "" {
		return ""
	}
	return template.HTML(strings.TrimRight(string(html), ". ")) + "."
}

// conditionsInGerman are what holds and what to do, by the code, where a condition has
// no words of its own.
var conditionsInGerman = map[string][2]string{
	"key_missing":          {"Der Schlüssel der Kasse fehlt noch", "Geben Sie ihn ein: Gerät öffnen, „Schlüssel eingeben“. Verkäufe warten so lange auf diesem Gateway."},
	"key_refused":          {"OpenFiskal lehnt den Schlüssel der Kasse ab", "Lassen Sie sich einen neuen geben und geben Sie ihn ein. Der alte wird alle 15 Minuten wieder versucht."},
	"key_sealed":           {"Der Schlüssel der Kasse lässt sich nicht öffnen", "Stellen Sie den richtigen Schlüssel-Schlüssel (vault.kek) wieder her und starten Sie neu, oder geben Sie den Schlüssel der Kasse neu ein."},
	"key_new_refused":      {"OpenFiskal lehnt den neuen Schlüssel ab, der bisherige bleibt in Gebrauch", "Soll die Kasse einen neuen Schlüssel haben, geben Sie den richtigen ein. Sonst ist nichts zu tun: Der falsche wird vergessen."},
	"key_unverified":       {"OpenFiskal hat einen Schlüssel noch nicht bestätigt", "Es wird jede Minute gefragt. Bleibt es so, stimmt die Kassen-Id oder der Schlüssel nicht."},
	"key_pending":          {"Ein neuer Schlüssel wartet auf OpenFiskal", "Er wird jede Minute geprüft und von selbst benutzt. „OpenFiskal nach dem Schlüssel fragen“ zeigt, was es antwortet."},
	"key_request_lost":     {"Die Antwort auf einen neuen Schlüssel ging verloren", "Lassen Sie noch einmal einen neuen Schlüssel machen."},
	"register_unknown":     {"OpenFiskal kennt die Kasse nicht", "Fragen Sie, ob sie archiviert wurde. Alle 5 Minuten wird es wieder versucht."},
	"misconfigured":        {"Dort antwortet nicht OpenFiskal", "Prüfen Sie openfiskal.base_url."},
	"queue_waits":          {"OpenFiskal ist seit mehr als 5 Minuten gestört", "Zunächst nichts: Es wird von selbst weiter versucht. Hält es an, nennen Sie dem Support von OpenFiskal die Anfrage-Id."},
	"in_doubt":             {"Seit mehr als 5 Minuten ist unklar, ob eine Anfrage ausgeführt wurde", "Zunächst nichts: Vor dem nächsten Senden wird nachgesehen. Hält es an, nennen Sie dem Support von OpenFiskal die Anfrage-Id."},
	"queue_blocked":        {"Ein Verkauf in Quarantäne hält die Warteschlange auf", "Entscheiden Sie ihn unter „Quarantäne“."},
	"sale_quarantined":     {"Verkäufe sind in Quarantäne", "Entscheiden Sie sie unter „Quarantäne“. Die Warteschlange geht hinter ihnen weiter."},
	"queue_unreadable":     {"Die Warteschlange ist nicht zu lesen", "Heben Sie eine Kopie des Datenverzeichnisses auf und rufen Sie den Support."},
	"messages_refused":     {"Meldungen eines Geräts konnten keine Verkäufe werden", "Sehen Sie sie unter „Quarantäne“ an. Sie sind Byte für Byte aufgehoben und werden nicht gesendet."},
	"seq_gap":              {"Ein Gerät hat Ereignisse gezählt, die es nie gemeldet hat", "Vergleichen Sie mit den Aufzeichnungen des Geräts. Danach: edgegw device forget-gaps GERÄT"},
	"card_data":            {"Ein Gerät hat gesendet, was wie eine Kartennummer aussieht", "Seine Firmware darf nur die letzten vier Ziffern senden. Sagen Sie es dem, der am Standort für Kartendaten zuständig ist. Danach: edgegw device forget-cards GERÄT"},
	"device_fight":         {"Zwei Verbindungen nehmen einander den Namen eines Geräts weg", "Geben Sie dem zweiten Gerät einen eigenen Namen. Gibt es kein zweites, wurde das Passwort kopiert: Machen Sie ein neues."},
	"uplink_down":          {"Kein Weg zu OpenFiskal", "Verkäufe werden weiter angenommen und warten hier. Prüfen Sie Netz, SIM-Karte, Firewall und Proxy."},
	"signing_down":         {"OpenFiskal kann zurzeit nicht signieren", "Zunächst nichts: Es wird von selbst weiter versucht. Hält es an, fragen Sie den Support von OpenFiskal."},
	"throttled":            {"OpenFiskal hat um weniger Anfragen gebeten", "Das gibt sich von selbst. Hält es an, lassen Sie die Grenze erhöhen oder senken Sie openfiskal.requests_per_second."},
	"fiscal_pending":       {"Ein bestätigter Verkauf ist noch nicht signiert", "Es wird von selbst wieder gefragt. Hält es an, fragen Sie den Support von OpenFiskal."},
	"storage_low":          {"Der Platz auf dem Datenträger wird knapp: Geräte sollen nichts Neues beginnen", "Schaffen Sie Platz auf dem Datenträger des Datenverzeichnisses. Was läuft, wird zu Ende gebracht, und was wartet, wird gesendet."},
	"storage_full":         {"Der Speicher ist voll: Es werden keine Verkäufe mehr angenommen", "Schaffen Sie Platz auf dem Datenträger des Datenverzeichnisses."},
	"database_damaged":     {"Die Datenbank ist beschädigt und kann jetzt nicht neu aufgebaut werden", "Machen Sie jetzt eine Sicherung und ein Support-Paket. Fehlt Platz auf dem Datenträger des Datenverzeichnisses, schaffen Sie welchen und starten Sie das Gateway neu; sonst rufen Sie den Support."},
	"database_rebuilt":     {"Die Datenbank war beschädigt und wurde neu aufgebaut", "Nichts wird doppelt gesendet: OpenFiskal wird vorher gefragt. Prüfen Sie Datenträger und Stromversorgung, machen Sie eine Sicherung und bestätigen Sie dann: edgegw acknowledge"},
	"second_journal_off":   {"Das zweite Journal ist aus", "Verkäufe werden weiter angenommen und gesendet. Prüfen Sie den Datenträger von store.mirror_dir; es wird jede Minute wieder versucht."},
	"second_journal_small": {"Im zweiten Journal fehlt Platz für die ältesten wartenden Verkäufe", "Sie stehen in der Datenbank. Prüfen Sie, warum so viele warten; ist das üblich, erhöhen Sie store.mirror_bytes."},
	"unclean_end":          {"Das Gateway ist zuletzt nicht sauber beendet worden", "Nichts Bestätigtes ist verloren. Prüfen Sie die Stromversorgung; beendet es sich wieder selbst, schicken Sie dem Support ein Paket."},
	"storage_failed":       {"Es lässt sich nicht mehr speichern: Es werden keine Verkäufe mehr angenommen", "Prüfen Sie den Datenträger des Datenverzeichnisses."},
	"books_unbalanced":     {"Die Bücher gehen nicht auf", "Heben Sie eine Kopie des Datenverzeichnisses auf und rufen Sie den Support."},
	"data_volatile":        {"Ein Neustart löscht die Daten", "Legen Sie data_dir auf dauerhaften Speicher."},
	"kek_missing":          {"Der Schlüssel-Schlüssel fehlt: Nichts kann gesendet werden", "Geben Sie ihn in vault.kek_file oder vault.kek zurück. Verkäufe werden weiter angenommen."},
	"restored":             {"Die Daten stammen aus einer Sicherung, OpenFiskal ist noch nicht befragt", "Nichts: Vor dem ersten Senden wird zurückgelesen, was seither gesendet wurde, sobald Leitung und Schlüssel es erlauben."},
	"restored_unread":      {"Die Daten stammen aus einer Sicherung, und OpenFiskal sagt nicht, was seither gesendet wurde", "Entscheiden Sie über die Verkäufe, die in der Sicherung warteten. Vergleichen Sie sie mit der Liste von OpenFiskal."},
	"kek_previous":         {"Der vorige Schlüssel-Schlüssel kann nicht gelesen werden", "Geben Sie die Datei frei (Modus 0600) und starten Sie neu, oder nehmen Sie die Einstellung heraus, wenn nichts mehr damit versiegelt ist."},
	"platform_key_kept":    {"Auf diesem Gerät liegt ein Plattform-Schlüssel, den der Standort nicht benutzt", "Entfernen Sie ihn: edgegw key set --platform --forget."},
	"topology_server_side": {"Ein Plattform-Schlüssel auf diesem Gerät öffnet alle Kassen der Organisation", "openfiskal.topology: device_direct, wenn ein gestohlenes Gerät nicht mehr öffnen soll als seine eigenen Kassen."},
	"settings_unconfirmed": {"Geänderte Einstellungen sind auf Probe und werden zurückgenommen, wenn sie niemand bestätigt", "Prüfen Sie, ob Geräte und Seite zu erreichen sind, und bestätigen Sie dann unter „Einstellungen“."},
	"settings_undone":      {"Eine Änderung der Einstellungen wurde zurückgenommen", "Es gelten die vorigen Einstellungen. Was es war und warum, steht unter „Einstellungen“."},
	"settings_damaged":     {"Die Einstellungen, die auf diesem Gerät geändert wurden, sind nicht zu gebrauchen und gelten nicht", "Der Grund steht unter „Einstellungen“. Ändern Sie noch einmal, was nötig ist, und entfernen Sie dann die beiseitegelegte Datei."},
	"kek_self_made":        {"Der Schlüssel-Schlüssel liegt neben dem, was er schützt", "Geben Sie einen in vault.kek oder vault.kek_file, der anderswo aufbewahrt wird."},
	"unclaimed":            {"Diese Seite gehört noch niemandem: Wer den Code im Protokoll des Gateways liest, kann sie übernehmen", "Öffnen Sie die Seite und übernehmen Sie sie. Adresse und Code zeigt: edgegw claim"},
	"token_expiring":       {"Das Token eines Programms läuft ab", "Machen Sie ein neues: edgegw token add NAME --scope SCOPE"},
	"login_failures":       {"Viele vergebliche Anmeldungen", "Finden Sie das Gerät an dieser Adresse. Ist es Ihres, machen Sie ein neues Passwort."},
	"mqtt_plain":           {"Geräte dürfen sich ohne TLS verbinden", "Leeren Sie mqtt.plain_listen, sobald alle Geräte TLS können."},
	"clock_unknown":        {"Die Uhr dieses Geräts kann nicht stimmen", "Geben Sie ihm einen Weg zu einem Zeitserver (NTP) und prüfen Sie die Batterie der Uhr."},
	"clock_wrong":          {"Die Uhr dieses Geräts geht falsch; das Gateway rechnet mit einer besseren", "Geben Sie ihm einen Weg zu einem Zeitserver (NTP) und prüfen Sie die Batterie der Uhr."},
	"clock_unsynchronised": {"Nichts hält die Uhr dieses Geräts richtig", "Geben Sie ihm einen Weg zu einem Zeitserver (NTP)."},
	"certificate_files":    {"Das Zertifikat in mqtt.cert_file ist nicht zu gebrauchen; das vorige gilt noch", "Legen Sie wieder ein Zertifikat und seinen Schlüssel dorthin."},
	"certificate_ending":   {"Das Zertifikat in mqtt.cert_file läuft ab", "Legen Sie ein neues und seinen Schlüssel dorthin. Ein Neustart ist nicht nötig."},
	"certificate_renewal":  {"Das Zertifikat des Standorts ließ sich nicht erneuern", "Stellen Sie site-ca-key.pem aus einer Sicherung wieder her, oder prüfen Sie den Datenträger. Jede Stunde wird es wieder versucht."},
	"site_ca_ending":       {"Die Zertifizierungsstelle des Standorts läuft ab", "Lesen Sie in der Dokumentation für Geräte nach, was dann zu tun ist."},
}

// causesInGerman say why OpenFiskal could not be reached, by the code of the cause.
var causesInGerman = map[string]string{
	"dns":               "Der Name seines Servers lässt sich nicht auflösen",
	"dns_no_such_name":  "Der Name seines Servers ist nicht bekannt",
	"refused":           "Sein Server lehnt die Verbindung ab",
	"unreachable":       "Es gibt keinen Weg zu seinem Server",
	"timeout":           "Sein Server antwortet nicht rechtzeitig",
	"tls":               "Eine vertrauenswürdige TLS-Verbindung kommt nicht zustande",
	"tls_name":          "Wer dort antwortet, hat einen anderen Namen in seinem Zertifikat",
	"tls_issuer":        "Wer dort antwortet, zeigt ein Zertifikat, dessen Aussteller niemand vertraut",
	"tls_time":          "Das Zertifikat, das dort gezeigt wird, gilt zu dieser Zeit nicht",
	"tls_timeout":       "Sein Server nimmt die Verbindung an und geht nicht zu TLS über",
	"tls_version":       "Wer dort antwortet, spricht kein TLS ab 1.2",
	"tls_missing":       "Wer dort antwortet, spricht kein TLS",
	"proxy_unreachable": "Der Proxy selbst ist nicht zu erreichen",
	"proxy_login":       "Der Proxy verlangt Namen und Passwort",
	"proxy":             "Der Proxy lässt es nicht durch",
	"captive_portal":    "Eine Anmeldeseite des Netzes steht dazwischen",
}
