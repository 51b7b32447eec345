package main

import (
	"fmt"
	"strings"

	"edgegw/admin"
)

type claimCmd struct {
	Reset bool `help:"Take the site from its owners, where nobody knows them: everybody's access to the page ends, and it is claimed anew."`
	Yes   bool `help:"Do not ask."`
	JSON  bool `help:"Print JSON."`
}

// claimed is the site's claim as one object.
type claimed struct {
	Site string `json:"site"`
	admin.Claim
	Page []string `json:"page"`
}

// Run says whether somebody owns the site, and how he gets it.
func (c *claimCmd) Run(a *app) error {
	switch {
	case c.Yes && !c.Reset:
		return usage("--yes goes with --reset")
	case c.Reset && !c.Yes && (c.JSON || !a.inTerminal):
		return usage("nobody can be asked here: a reset ends everybody's access to the page; give --yes to do it all the same")
	}
	return a.with(false, func(b admin.Backend) error {
		s, err := b.Status(a.ctx)
		if err != nil {
			return err
		}
		if c.Reset {
			return c.reset(a, b, s)
		}
		if c.JSON {
			return a.printJSON(claimed{s.Site, s.Claim, list(s.Page)})
		}
		a.sayClaim(s.Site, s.Claim, s.Page)
		return nil
	})
}

func (a *app) sayClaim(site string, c admin.Claim, page []string) {
	where := strings.Join(page, ", ")
	switch {
	case c.Claimed && where == "":
		a.say(site + " has an owner.")
	case c.Claimed:
		a.say(site + " has an owner. Log in at " + where)
	case c.Code == "":
		a.say("Nobody owns " + site + " yet. Each start of the gateway makes the code that claims it: edgegw run, then edgegw claim")
	case where == "":
		a.say("Nobody owns " + site + " yet, and its page is not served to anybody: set http.tls_listen or http.listen.")
	default:
		a.say("Nobody owns " + site + " yet. Open its page and claim it with the code.")
		table(a.out, []string{"  code", c.Code}, []string{"  page", where})
	}
}

// reset takes the site from its owners, after saying what that ends and what stays.
func (c *claimCmd) reset(a *app, b admin.Backend, s admin.Status) error {
	if s.Claim.Claimed && !c.JSON {
		all, err := b.People(a.ctx)
		if err != nil {
			return err
		}
		names := []string{}
		for _, p := range all {
			names = append(names, fmt.Sprintf("%s (%s)", p.Name, p.Role))
		}
		a.say("What ends, at once: the access of everybody to the page of " + s.Site + ", with all passwords, PINs and sessions: " + strings.Join(names, ", ") + ".")
		a.say("What stays: sales, devices, register keys, settings, the audit trail, and the tokens of programs; see edgegw token list for one that should not be there.")
	}
	if s.Claim.Claimed && !c.Yes && !a.agrees("Take the site from its owners?") {
		a.say("Nothing was changed.")
		return nil
	}
	done, err := b.ResetClaim(a.ctx, admin.LocalUser())
	switch {
	case err != nil:
		return err
	case c.JSON:
		done.Removed, done.Page = list(done.Removed), list(done.Page)
		return a.printJSON(done)
	}
	a.sayClaim(s.Site, admin.Claim{Code: done.Code}, done.Page)
	return nil
}
