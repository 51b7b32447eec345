package page

import (
	"edgegw/admin"
	"edgegw/sale"
	"edgegw/secret"
	"html/template"
)

func (s *Site) devices(v *visit) error {
	all, err := s.Backend.Devices(v.r.Context())
	if err != nil {
		return err
	}
	return v.show("devices", view{Title: v.t("Devices"), At: "devices", Content: all, Live: true})
}

type newDeviceView struct {
	Device admin.AddDevice
	Kinds  []string
}

func (s *Site) newDevice(v *visit) error {
	return v.show("new-device", view{Title: v.t("Add a device"), At: "devices", Content: newDeviceView{admin.AddDevice{Kind: sale.DeviceKinds[0]}, sale.DeviceKinds}})
}

// addDevice adds one and shows its credentials, this once. Where it cannot be done
// the form comes again, without the key.
func (s *Site) addDevice(v *visit) error {
	if err := v.form(); err != nil {
		return err
	}
	add := admin.AddDevice{DeviceID: sale.DeviceID(v.field("device_id")), RegisterID: sale.RegisterID(v.field("register_id")), Kind: v.field("kind"), Label: v.field("label"),
		Key: v.secret("register_key"), Unverified: v.field("unverified") != "", Cert: v.field("login") == "certificate"}
	again := func(f *admin.Refusal) error {
		return v.show("new-device", view{Title: v.t("Add a device"), At: "devices", Content: newDeviceView{add, sale.DeviceKinds}, Refusal: f})
	}
	if f := add.Check(); f != nil {
		add.RegisterID = "" // a key may have been pasted there
		return again(f)
	}
	c, err := s.Backend.AddDevice(v.r.Context(), add, v.by())
	return v.credentials(c, err, again)
}

// secret takes a secret out of the form. What is shown afterwards does not hold it,
// whoever quotes it.
func (v *visit) secret(name string) secret.Text {
	v.hidden = secret.FromString(v.field(name))
	v.r.PostForm.Del(name)
	return v.hidden
}

type credentialsView struct {
	admin.Credentials
	QR        qrCode
	Text, PEM string // as files
}

// credentials shows what a device logs in with: its one showing.
func (v *visit) credentials(c admin.Credentials, err error, again func(*admin.Refusal) error) error {
	if err != nil {
		return orAgain(err, again)
	}
	c.MQTTURL = fromOutside(c.MQTTURL, v.r.Host)
	show := credentialsView{Credentials: c}
	if c.Password != "" {
		show.QR = qrOf(mqttURL(c))
		show.Text = "MQTT URL:  " + c.MQTTURL + "\nUser name: " + c.Username + "\nClient id: " + string(c.DeviceID) + "\nPassword:  " + c.Password + "\n"
	}
	if c.Certificate != nil {
		show.PEM = c.Certificate.PEM + c.Certificate.Key
	}
	return v.show("credentials", view{Title: v.t("Credentials of %s", string(c.DeviceID)), At: "devices", Content: show, Once: true})
}

func (v *visit) deviceID() (sale.DeviceID, error) {
	id := sale.DeviceID(v.r.PathValue("id"))
	if !id.Valid() {
		return "", &admin.Refusal{Code: "not_found", Message: "There is no such device.", Remedy: "See the list of devices."}
	}
	return id, nil
}

type deviceView struct {
	Device   admin.Device
	Sentence template.HTML
	Sales    []admin.Sale
	Act      string
	Serial   string
}

func (s *Site) lookUp(v *visit) (deviceView, error) {
	id, err := v.deviceID()
	if err != nil {
		return deviceView{}, err
	}
	d, err := s.Backend.Device(v.r.Context(), id)
	return deviceView{Device: d}, err
}

func (s *Site) device(v *visit) error {
	d, err := s.lookUp(v)
	if err != nil {
		return err
	}
	story, err := s.Backend.Explain(v.r.Context(), string(d.Device.DeviceID))
	if err != nil {
		return err
	}
	st, err := s.Backend.Status(v.r.Context())
	if err != nil {
		return err
	}
	d.Sentence = v.deviceSentence(d.Device, &story, &st)
	if d.Sales, err = s.Backend.Sales(v.r.Context(), admin.SaleFilter{DeviceID: d.Device.DeviceID, Limit: 10}); err != nil {
		return err
	}
	return v.show("device", view{Title: string(d.Device.DeviceID), At: "devices", Status: &st, Content: d, Live: true})
}

// acts are what may be done with a device; those that are true ask first.
var acts = map[string]bool{"identify": false, "test": false, "key": true, "rotate": true, "check": false, "disable": true, "enable": false, "replace": true, "password": true, "certificate": true, "revoke": true, "remove": true}

// confirmAct asks before something that cannot be taken back, and for what it needs.
func (s *Site) confirmAct(v *visit) error {
	act := v.r.PathValue("act")
	if !acts[act] {
		return s.notFound(v)
	}
	return s.ask(v, act, nil)
}

func (s *Site) ask(v *visit, act string, f *admin.Refusal) error {
	d, err := s.lookUp(v)
	if err != nil {
		return err
	}
	d.Act, d.Serial = act, v.r.URL.Query().Get("serial")
	return v.show("act", view{Title: string(d.Device.DeviceID), At: "devices", Content: d, Refusal: f})
}

// actOnDevice does one thing with a device.
func (s *Site) actOnDevice(v *visit) error {
	if err := v.form(); err != nil {
		return err
	}
	id, err := v.deviceID()
	if err != nil {
		return err
	}
	ctx, act, by := v.r.Context(), v.r.PathValue("act"), v.by()
	again := func(f *admin.Refusal) error { return s.ask(v, act, f) }
	var c admin.Credentials
	switch act {
	case "identify":
		return s.identify(v, id)
	case "test":
		return s.testSale(v, id)
	case "password":
		c, err = s.Backend.RenewPassword(ctx, id, by)
		return v.credentials(c, err, again)
	case "replace":
		c, err = s.Backend.ReplaceDevice(ctx, id, v.field("login") == "certificate", by)
		return v.credentials(c, err, again)
	case "certificate":
		c, err = s.Backend.IssueCertificate(ctx, id, by)
		return v.credentials(c, err, again)
	case "key":
		var k admin.KeyResult
		k, err = s.Backend.SetKey(ctx, admin.SetKey{DeviceID: id, Key: v.secret("register_key"), Unverified: v.field("unverified") != ""}, by)
		return s.keyResult(v, k, err, again)
	case "rotate":
		var k admin.KeyResult
		k, err = s.Backend.RequestKey(ctx, admin.KeyRequest{KeyOf: admin.KeyOf{DeviceID: id}, Kind: sale.KeyRotate, PlatformKey: v.secret("platform_key"), Organization: v.field("organization")}, by)
		return s.keyResult(v, k, err, again)
	case "check":
		checks, err := s.Backend.CheckKey(ctx, admin.KeyOf{DeviceID: id})
		if err != nil {
			return err
		}
		return v.show("checks", view{Title: string(id), At: "devices", Content: checks})
	case "disable":
		err = s.Backend.DisableDevice(ctx, id, by)
	case "enable":
		err = s.Backend.EnableDevice(ctx, id, by)
	case "revoke":
		err = s.Backend.RevokeCertificate(ctx, id, v.field("serial"), by)
	case "remove":
		if err = s.Backend.RemoveDevice(ctx, id, by); err == nil {
			return v.seeOther("/devices")
		}
	default:
		return s.notFound(v)
	}
	if err != nil && acts[act] {
		return orAgain(err, again)
	}
	if err != nil {
		return err
	}
	return v.seeOther("/devices/" + string(id))
}

type keyView struct {
	admin.KeyResult
	Device sale.DeviceID
}

// keyResult says what became of a key.
func (s *Site) keyResult(v *visit, k admin.KeyResult, err error, again func(*admin.Refusal) error) error {
	if err != nil {
		return orAgain(err, again)
	}
	id, err := v.deviceID()
	if err != nil {
		return err
	}
	return v.show("key", view{Title: v.t("The key of %s", string(id)), At: "devices", Content: keyView{k, id}})
}
