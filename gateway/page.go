package gateway

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"time"

	"edgegw/admin/page"
)

// pageLook is how often the site is looked at for somebody who has a page open.
const pageLook = time.Second

// pages are what browsers see.
func (g *Gateway) pages() (http.Handler, error) {
	s, err := page.New(page.Options{Backend: g.control, Door: g.control, Changed: g.changed, Log: g.log, CA: g.authority.CAPEM, Version: g.options.Version, Now: g.clock.Now})
	if err != nil {
		return nil, err
	}
	return g.tidy.handler(s), nil
}

// changed blocks until a page may show something else than it did. It looks, as long
// as somebody watches; so nothing on the way of a sale has to tell anybody.
func (g *Gateway) changed(ctx context.Context) error {
	before, err := g.outline(ctx)
	if err != nil {
		return err
	}
	tick := time.NewTicker(pageLook)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-g.ending:
			return http.ErrServerClosed
		case <-tick.C:
		}
		now, err := g.outline(ctx)
		if err != nil || now != before {
			return err
		}
	}
}

// outline is what pages show, in short.
func (g *Gateway) outline(ctx context.Context) (string, error) {
	s, err := g.Status(ctx)
	if err != nil {
		return "", err
	}
	s.Clock.Now, s.Disk = time.Time{}, nil // they change all the while; a page asks for them once a minute
	b, err := json.Marshal(struct {
		Status, Presence any
	}{s, g.presence()})
	return string(b), err
}

// pageURLs are where browsers on this box find the page.
func (k *control) pageURLs() []string {
	urls := []string{}
	if k.running == nil {
		return urls
	}
	if l := k.running.pageTLS; l != nil {
		urls = append(urls, urlOf("https", l.Addr(), ""))
	}
	if l := k.running.page; l != nil && onLoopback(l.Addr()) {
		urls = append(urls, urlOf("http", l.Addr(), ""))
	}
	return urls
}

// toTLS sends browsers on: a password must not cross a network in clear.
func (g *Gateway) toTLS(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	if g.pageTLS == nil || r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, "Other machines can reach this listener, and it has no TLS: the page is not served on it.\nSet http.tls_listen, as in http.tls_listen: \":443\", and use https.\n")
		return
	}
	host, _, err := net.SplitHostPort(r.Host)
	if err != nil {
		host = r.Host
	}
	_, port, err := net.SplitHostPort(g.pageTLS.Addr().String())
	if err != nil {
		http.NotFound(w, r)
		return
	}
	to := "https://" + net.JoinHostPort(host, port) + r.URL.RequestURI()
	if port == "443" {
		to = "https://" + host + r.URL.RequestURI()
	}
	http.Redirect(w, r, to, http.StatusTemporaryRedirect)
}
