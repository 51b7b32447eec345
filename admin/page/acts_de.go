package page

import "html/template"

// act is what was done, of a line of the audit trail. Its details stay as they are:
// they are the record.
func (l lang) act(what string) template.HTML {
	if german, known := actsInGerman[what]; known && l != english {
		return template.HTML(template.HTMLEscapeString(german))
	}
	if l == english {
		return template.HTML(template.HTMLEscapeString(what))
	}
	return asItIs(what)
}

// actsInGerman are all that the gateway writes into the audit trail.
var actsInGerman = map[string]string{
	"device added": "Gerät hinzugefügt", "device described": "Gerät anders beschrieben", "device disabled": "Gerät ausgesperrt", "device enabled": "Gerät wieder eingelassen",
	"device replaced": "Gerät ersetzt", "device removed": "Gerät entfernt", "device secret renewed": "Neues Passwort für Gerät",
	"certificate issued": "Zertifikat ausgestellt", "certificates revoked": "Zertifikate widerrufen", "card data seen to": "Kartendaten zur Kenntnis genommen", "event gaps forgotten": "Lücken der Zählung abgehakt",
	"register key added": "Schlüssel der Kasse eingegeben", "register key active": "Schlüssel der Kasse in Gebrauch", "register key unverified": "Schlüssel der Kasse ungeprüft in Gebrauch",
	"register key pending": "Schlüssel der Kasse wartet", "register key refused": "Schlüssel der Kasse abgelehnt", "register key retired": "Schlüssel der Kasse ersetzt",
	"register key dropped": "Schlüssel der Kasse verworfen", "register key forgotten": "Schlüssel entfernt", "register keys sealed anew": "Schlüssel neu versiegelt",
	"register key asked for": "Neuer Schlüssel angefordert", "register key request over": "Anforderung eines Schlüssels beendet", "register key request lost": "Antwort auf die Anforderung eines Schlüssels verloren",
	"register read back": "Kasse von OpenFiskal zurückgelesen", "sale quarantined": "Verkauf in Quarantäne", "queue blocked": "Warteschlange aufgehalten", "queue goes on": "Warteschlange geht weiter",
	"quarantine retry": "Quarantäne: noch einmal versuchen", "quarantine resolve": "Quarantäne: ist schon bei OpenFiskal", "quarantine discard": "Quarantäne: aufgegeben",
	"person added": "Person eingelassen", "person removed": "Person entfernt", "password of a person": "Passwort einer Person gesetzt", "logged in": "angemeldet", "logged out": "abgemeldet",
	"logins in vain": "Vergebliche Anmeldungen", "ends of people moved": "Fristen von Leuten verschoben", "token added": "Token erstellt", "token removed": "Token beendet",
	"backup made": "Sicherung erstellt", "backup put back": "Sicherung zurückgespielt", "support bundle made": "Support-Paket erstellt",
	"settings tried": "Einstellungen auf Probe geändert", "settings confirmed": "Einstellungen bestätigt", "settings undone": "Einstellungen zurückgenommen", "settings expired": "Einstellungen zurückgenommen: niemand hat sie bestätigt",
	"settings interrupted": "Einstellungen zurückgenommen: das Gateway endete vorher", "settings failed": "Einstellungen zurückgenommen: das Gateway konnte nicht beginnen", "settings written": "Einstellungen für den nächsten Start geschrieben",
	"device asked to show itself": "Gerät gebeten, sich zu zeigen", "claim reset": "Standort den Eigentümern genommen",
	"rebuilt database acknowledged": "Neu aufgebaute Datenbank bestätigt",
	"settings set_aside":            "Einstellungen beiseitegelegt",
}
