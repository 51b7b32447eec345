package page

import (
	"strings"

	"edgegw/admin"
	"edgegw/sale"
)

type salesView struct {
	Filter  admin.SaleFilter
	Sales   []admin.Sale
	Devices []admin.Device
	States  []string
	Full    bool // there may be more
}

// pageOfSales is how many sales one page shows.
const pageOfSales = 50

func (s *Site) sales(v *visit) error {
	q := v.r.URL.Query()
	f := admin.SaleFilter{DeviceID: sale.DeviceID(q.Get("device")), SaleID: strings.TrimSpace(q.Get("id")), State: q.Get("state"), Limit: pageOfSales}
	if f.DeviceID != "" && !f.DeviceID.Valid() {
		f.DeviceID = ""
	}
	all, err := s.Backend.Sales(v.r.Context(), f)
	if err != nil {
		return err
	}
	devices, err := s.Backend.Devices(v.r.Context())
	if err != nil {
		return err
	}
	return v.show("sales", view{Title: v.t("Sales"), At: "sales", Live: true,
		Content: salesView{Filter: f, Sales: all, Devices: devices, States: admin.SaleStates, Full: len(all) == pageOfSales}})
}

type saleView struct {
	Sale  admin.Sale
	Story admin.Explanation
}

func (s *Site) sale(v *visit) error {
	device, id := v.r.PathValue("device"), v.r.PathValue("sale")
	all, err := s.Backend.Sales(v.r.Context(), admin.SaleFilter{DeviceID: sale.DeviceID(device), SaleID: id, Limit: 1})
	if err != nil {
		return err
	}
	if len(all) == 0 {
		return &admin.Refusal{Code: "not_found", Message: v.t("There is no such sale on this box."), Remedy: v.t("Sales that are confirmed are kept for a while only. Search by another part of it.")}
	}
	story, err := s.Backend.Explain(v.r.Context(), device+"/"+id)
	if err != nil {
		return err
	}
	return v.show("sale", view{Title: v.t("Sale"), At: "sales", Live: true, Content: saleView{all[0], story}})
}
