package main

import (
	"context"
	"path/filepath"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"edgegw/admin"
)

// completionLimit bounds how long somebody's typing waits for the gateway.
const completionLimit = 500 * time.Millisecond

// values are what an argument or a flag can be. Its tag `completion` says what of
// the gateway it names.
func (a *app) values(v *kong.Value) (all []suggestion) {
	if v.Enum != "" {
		for word := range strings.SplitSeq(v.Enum, ",") {
			all = append(all, suggestion{word, ""})
		}
		return all
	}
	switch what := v.Tag.Get("completion"); {
	case what != "":
		return a.ids(what)
	case v.Tag.PlaceHolder == "FILE" || v.Name == "file":
		return []suggestion{{suggestFiles, ""}}
	case v.Tag.PlaceHolder == "DIR":
		return []suggestion{{suggestFolders, ""}}
	}
	return nil
}

// ids asks the running gateway, and only that: opening the data would keep others
// from it.
func (a *app) ids(what string) (all []suggestion) {
	c, err := a.load()
	if err != nil {
		return nil
	}
	b, err := admin.Dial(filepath.Join(c.DataDir, admin.SocketName))
	if err != nil {
		return nil
	}
	defer b.Close()
	ctx, cancel := context.WithTimeout(a.ctx, completionLimit)
	defer cancel()
	for kind := range strings.SplitSeq(what, ",") {
		all = append(all, idsOf(ctx, b, kind)...)
	}
	return all
}

// idsOf gives what came in time; nothing is an answer too.
func idsOf(ctx context.Context, b *admin.Client, kind string) (all []suggestion) {
	switch kind {
	case "device":
		list, _ := b.Devices(ctx)
		for _, d := range list {
			all = append(all, suggestion{string(d.DeviceID), strings.TrimPrefix(d.Label+", "+d.Kind, ", ")})
		}
	case "register":
		s, _ := b.Status(ctx)
		for _, r := range s.Registers {
			all = append(all, suggestion{string(r.RegisterID), r.State})
		}
	case "quarantine":
		list, _ := b.Quarantine(ctx, admin.QuarantineFilter{})
		for _, i := range list {
			all = append(all, suggestion{i.ID, string(i.DeviceID) + ", " + i.Code})
		}
	case "token":
		list, _ := b.Tokens(ctx)
		for _, t := range list {
			all = append(all, suggestion{t.ID, t.Name + ", " + string(t.Scope)})
		}
	case "person":
		list, _ := b.People(ctx)
		for _, p := range list {
			all = append(all, suggestion{p.Name, string(p.Role)})
		}
	case "session":
		list, _ := b.Sessions(ctx)
		for _, s := range list {
			all = append(all, suggestion{s.ID, s.Name + ", " + browserOf(s)})
		}
	case "setting":
		now, _ := b.Settings(ctx)
		for _, s := range now.Settings {
			if s.Changeable {
				all = append(all, suggestion{s.Key, s.Description})
			}
		}
	case "sale-state":
		for _, s := range admin.SaleStates {
			all = append(all, suggestion{s, ""})
		}
	}
	return all
}
