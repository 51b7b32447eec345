package page

import (
	"html/template"
	"net/url"
	"strconv"
	"strings"
	"time"

	"edgegw/admin"
	"edgegw/sale"
)

type salesView struct {
	Form    salesForm
	Sales   []admin.Sale
	Devices []admin.Device
	States  []string
	Zone    string    // of the times in the form
	Older   string    // address of the next page; "" where the search is over
	Reached time.Time // zero, or everything since has been looked at, and the page is not full
}

// salesForm is what somebody has typed.
type salesForm struct{ Device, State, ID, Receipt, Amount, From, To, Register, Operation string }

// fields are the names in the address.
func (f *salesForm) fields() map[string]*string {
	return map[string]*string{"device": &f.Device, "state": &f.State, "id": &f.ID, "receipt": &f.Receipt, "amount": &f.Amount, "from": &f.From, "to": &f.To,
		"register": &f.Register, "operation": &f.Operation}
}

// More reports whether a field is used that few need.
func (f salesForm) More() bool { return f.Register != "" || f.Operation != "" }

// pageOfSales is how many sales one page shows.
const pageOfSales = 50

func (s *Site) sales(v *visit) error {
	q := v.r.URL.Query()
	var c salesView
	for name, field := range c.Form.fields() {
		*field = strings.TrimSpace(q.Get(name))
	}
	c.States, c.Zone = admin.SaleStates, time.Now().Local().Format("MST")
	var err error
	if c.Devices, err = s.Backend.Devices(v.r.Context()); err != nil {
		return err
	}
	page := view{Title: v.t("Sales"), At: "sales"}
	f, err := s.saleFilter(v, &c.Form)
	if err == nil {
		f.Before, _ = strconv.ParseInt(q.Get("before"), 10, 64) // 0, from the newest on, where it is none
		err = s.find(v, &c, f)
	}
	if err != nil {
		return orAgain(err, func(f *admin.Refusal) error {
			page.Refusal, page.Content = f, c
			return v.show("sales", page)
		})
	}
	page.Live, page.Content = f.Before == 0, c
	return v.show("sales", page)
}

// find fills the page.
func (s *Site) find(v *visit, c *salesView, f admin.SaleFilter) error {
	found, err := s.Backend.FindSales(v.r.Context(), f)
	if err != nil {
		return err
	}
	if c.Sales = found.Sales; found.Next == 0 {
		return nil
	}
	if len(found.Sales) < pageOfSales {
		c.Reached = found.Reached
	}
	older := url.Values{"before": {strconv.FormatInt(found.Next, 10)}}
	for name, field := range c.Form.fields() {
		if *field != "" {
			older.Set(name, *field)
		}
	}
	c.Older = "/sales?" + older.Encode()
	return nil
}

// saleFilter reads the form. A refusal says which field to mend.
func (s *Site) saleFilter(v *visit, form *salesForm) (f admin.SaleFilter, err error) {
	f = admin.SaleFilter{DeviceID: sale.DeviceID(form.Device), SaleID: form.ID, State: form.State, Document: form.Receipt,
		RegisterID: sale.RegisterID(form.Register), Operation: form.Operation, Limit: pageOfSales}
	if f.From, err = v.moment(form.From, false); err != nil {
		return f, err
	}
	if f.To, err = v.moment(form.To, true); err != nil {
		return f, err
	}
	if form.Amount != "" {
		if f.Amount, err = s.amounts(v, form.Amount); err != nil {
			return f, err
		}
	}
	if refusal := f.Check(); refusal != nil {
		*form = salesForm{} // it may hold a key, which no page shows
		return f, refusal
	}
	return f, nil
}

// amounts reads an amount in the currency of the newest sale.
func (s *Site) amounts(v *visit, text string) (sale.Amounts, error) {
	currency, err := admin.UsualCurrency(v.r.Context(), s.Backend)
	if err != nil {
		return sale.Amounts{}, err
	}
	all, ok := sale.ParseAmounts(text, currency)
	if !ok {
		return all, &admin.Refusal{Code: "invalid", Message: "That is no amount.", Remedy: "Write it as in 76.22, or 76.22..80 for all between."}
	}
	return all, nil
}

// moment reads a time of a form, in the box's zone. The last one goes on to its end:
// who asks until 8:45 means that minute, too.
func (v *visit) moment(text string, last bool) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	for _, form := range []struct {
		layout string
		days   int
		long   time.Duration
	}{{"2006-01-02T15:04", 0, time.Minute}, {"2006-01-02T15:04:05", 0, time.Second}, {time.DateOnly, 1, 0}} {
		t, err := time.ParseInLocation(form.layout, text, time.Local)
		if err != nil {
			continue
		}
		if last {
			t = t.AddDate(0, 0, form.days).Add(form.long)
		}
		return t, nil
	}
	return time.Time{}, &admin.Refusal{Code: "invalid", Message: "That is no time.", Remedy: "Write it as in 2026-11-22T08:45, or a day as in 2026-11-22."}
}

type saleView struct {
	Sale     admin.Sale
	Sentence template.HTML
	Lines    []storyLine
	Payloads bool
}

func (s *Site) sale(v *visit) error {
	payloads := v.r.URL.Query().Get("payloads") != ""
	story, err := s.Backend.SaleStory(v.r.Context(), sale.DeviceID(v.r.PathValue("device")), v.r.PathValue("sale"), payloads)
	if err != nil {
		return orAgain(err, func(f *admin.Refusal) error {
			if f.Code == "not_found" {
				f = &admin.Refusal{Code: f.Code, Message: "There is no such sale on this box.", Remedy: "Search by another part of it."}
			}
			return f
		})
	}
	st, err := s.Backend.Status(v.r.Context())
	if err != nil {
		return err
	}
	c := saleView{Sale: story.Sale, Sentence: v.saleSentence(&story, &st), Payloads: payloads}
	for i := range story.Parts {
		c.Lines = append(c.Lines, v.line(&story.Parts[i]))
	}
	return v.show("sale", view{Title: v.t("Sale"), At: "sales", Status: &st, Live: !payloads, Content: c})
}
