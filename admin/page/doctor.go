package page

import (
	"edgegw/admin"
	"edgegw/doctor"
)

// doctorView is what the doctor found; without checks nobody has asked yet.
type doctorView struct {
	Failed, Notices, Rest []admin.Check
	Asked                 bool
	Healthy               bool
}

func (s *Site) doctorForm(v *visit) error {
	return v.show("doctor", view{Title: v.t("Doctor"), At: "doctor", Content: doctorView{}})
}

// examine looks at everything. It is a form and no link, because a look costs: the
// whole database is read, and something is written.
func (s *Site) examine(v *visit) error {
	all, err := s.Backend.Doctor(v.r.Context(), "")
	if err != nil {
		return err
	}
	in := doctorView{Asked: true, Healthy: !doctor.NeedsSomebody(all)}
	for _, c := range all {
		switch c.State {
		case doctor.Failed:
			in.Failed = append(in.Failed, c)
		case doctor.Notice:
			in.Notices = append(in.Notices, c)
		default:
			in.Rest = append(in.Rest, c)
		}
	}
	return v.show("doctor", view{Title: v.t("Doctor"), At: "doctor", Content: in})
}

// checkTitle is a check's name in a language.
func (l lang) checkTitle(c admin.Check) string {
	if german, there := checksInGerman[c.Check]; there && l != english {
		return german
	}
	return c.Title
}

// checksInGerman names every check; what was found, and what to do, is in the
// gateway's own words.
var checksInGerman = map[string]string{
	"gateway_running": "Das Gateway läuft", "version": "Überall dieselbe Version", "configuration": "Die Konfiguration",
	"data_persistent": "Die Daten überleben einen Neustart", "data_writable": "Der Datenträger lässt sich beschreiben", "data_sync": "Der Datenträger schreibt wirklich",
	"disk_space": "Freier Platz", "disk_inodes": "Freie Inodes", "file_modes": "Rechte der Dateien",
	"database_opens": "Die Datenbank lässt sich öffnen", "database_integrity": "Die Datenbank ist heil", "wal_size": "Das Schreibprotokoll ist kurz", "books": "Die Bücher gehen auf",
	"clock": "Die Uhrzeit", "clock_source": "Woher die Uhrzeit kommt",
	"uplink_name": "Der Name von OpenFiskal", "uplink_route": "Ein Weg ins Internet", "proxy": "Der Proxy", "uplink_connect": "OpenFiskal antwortet", "uplink_tls": "Das Zertifikat von OpenFiskal", "uplink_certificate": "Sein Ende",
	"key_host": "Schlüssel und Adresse passen zusammen", "register_keys": "Schlüssel der Kassen", "kek": "Der Schlüssel-Schlüssel", "keys_open": "Die Schlüssel lassen sich öffnen",
	"queues_blocked": "Keine Warteschlange steht", "queue_age": "Nichts wartet lange", "quarantine": "Die Quarantäne ist leer",
	"mqtt_listener": "Der MQTT-Port antwortet", "mqtt_publish": "Eine Meldung wird quittiert", "mqtt_plain": "MQTT nur mit TLS", "http_plain": "Diese Seite nur mit TLS",
	"site_ca": "Die Zertifizierungsstelle des Standorts", "server_certificate": "Das Zertifikat des Servers", "client_certificates": "Zertifikate der Geräte",
	"memory": "Speicher", "descriptors": "Offene Dateien", "container": "Der Container", "user": "Nicht als root", "conditions": "Sonst steht nichts an",
}
