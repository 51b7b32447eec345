package gateway

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"edgegw/admin"
)

const (
	// shutdownLimit bounds the end of the local HTTP servers.
	shutdownLimit = 2 * time.Second
	// idleLimit bounds an idle connection to them: what came over it stands in its
	// buffers until it is closed, and must be gone when the gateway is tidied.
	idleLimit = 30 * time.Second
	// answerLimit bounds an answer on a network: handler and slow reader together,
	// beside what OpenFiskal may take.
	answerLimit = 2 * time.Minute
	// mostHeaders and mostRequest bound a request. A route reads less than that.
	mostHeaders = 16 << 10
	mostRequest = 2 << 20
	// mostStreams is how many requests one HTTP/2 connection may have under way.
	mostStreams = 16
)

// bindHTTP binds what other programs may ask. mqtt is how devices are served, nil
// without TLS there.
func (g *Gateway) bindHTTP(mqtt *tls.Config) (err error) {
	c := g.config.HTTP
	if c.Listen != "" {
		if g.page, err = g.listen("http.listen", c.Listen); err != nil {
			return err
		}
	}
	if c.TLSListen == "" {
		return nil
	}
	if mqtt == nil {
		if mqtt, err = g.tlsConfig(); err != nil {
			return err
		}
	}
	g.pageConf = mqtt.Clone()
	g.pageConf.ClientAuth, g.pageConf.ClientCAs = tls.NoClientCert, nil // a device's certificate opens nothing here
	if g.pageTLS, err = g.listen("http.tls_listen", c.TLSListen); err != nil {
		return err
	}
	return nil
}

// apiURL is where programs of this machine reach the API; "" where it is off.
func (k *control) apiURL() string {
	switch c := k.config.HTTP; {
	case k.running != nil && k.running.pageTLS != nil:
		return urlOf("https", k.running.pageTLS.Addr(), "") + admin.Prefix
	case c.TLSListen != "":
		return urlOf("https", nil, c.TLSListen) + admin.Prefix
	}
	return ""
}

func (g *Gateway) serveSocket(ctx context.Context) error {
	if g.local == nil {
		<-ctx.Done()
		return nil
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+admin.HealthPath, g.healthz)
	mux.Handle("/", g.tidy.handler(admin.Handler(g.control)))
	mux.Handle("GET "+admin.MetricsPath, g.scrape) // its mode 0600 says who may ask
	return serve(ctx, newServer(mux, g.log), g.local)
}

// serveHTTP serves http.listen, which has no TLS. On loopback that is the page, the
// API with a token, and metrics without one. Where others can reach it no key may
// come, so there is no API; the metrics hold none, and take a token (CONTRACT.md
// ruling 15).
func (g *Gateway) serveHTTP(ctx context.Context) error {
	if g.page == nil {
		<-ctx.Done()
		return nil
	}
	remote := g.remote()
	mux := g.newPage()
	if onLoopback(g.page.Addr()) {
		mux.Handle("/api/", remote)
		mux.Handle("GET "+admin.MetricsPath, forThisMachine(g.scrape, remote))
		mux.Handle("/", forThisMachine(g.browsers, remote))
	} else {
		mux.HandleFunc("/", g.toTLS)
		mux.HandleFunc("/api/", needsTLS)
		mux.Handle("GET "+admin.MetricsPath, remote)
	}
	return g.serveNetwork(ctx, g.page, mux, nil)
}

// serveHTTPS serves http.tls_listen: the page, and with a token the API and the
// metrics.
func (g *Gateway) serveHTTPS(ctx context.Context) error {
	if g.pageTLS == nil {
		<-ctx.Done()
		return nil
	}
	remote := g.remote()
	mux := g.newPage()
	mux.Handle("/api/", remote)
	mux.Handle("GET "+admin.MetricsPath, remote)
	mux.Handle("/", g.browsers)
	return g.serveNetwork(ctx, g.pageTLS, mux, g.pageConf)
}

// newPage answers what needs no login (CONTRACT.md ruling 15). /readyz has
// nothing to find out: the store is open and migrated and MQTT is bound, or this
// would not run. /healthz says whether it does its job.
func (g *Gateway) newPage() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+admin.HealthPath, g.healthz)
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = io.WriteString(w, "ready\n") // whoever asked is gone: nothing to tell him
	})
	return mux
}

// remote is the API for programs with a token.
func (g *Gateway) remote() http.Handler {
	browsers := http.NewCrossOriginProtection()
	browsers.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		admin.TurnAway(w, r, &admin.Refusal{Code: admin.CodeCrossOrigin, Message: "another page has sent this browser here", Remedy: "Ask from a program, not from a web page."})
	}))
	api := admin.Remote(g.control, g.scrape, g.door.check)
	return browsers.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != admin.MetricsPath { // no key comes or goes there, and who scrapes does so all the time
			defer g.tidy.touched()
		}
		api.ServeHTTP(w, r)
	}))
}

// needsTLS turns a request away before its body is read: the key in it would have
// crossed the network in clear.
func needsTLS(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Connection", "close")
	admin.TurnAway(w, r, &admin.Refusal{Code: admin.CodeTLSRequired, Message: "other machines can reach this listener, and it has no TLS: the API is not served on it",
		Remedy: "Use https on http.tls_listen. A key or a token that was sent here could be read on the network: have it replaced."})
}

// onLoopback reports whether nobody but this machine can reach a listener.
func onLoopback(bound net.Addr) bool {
	a, ok := bound.(*net.TCPAddr)
	return ok && a.IP.IsLoopback()
}

// forThisMachine serves open to a request that was meant for this machine, and
// remote to one that shows a token. The Host is looked at because a web page may
// give its own name this machine's address and have a browser here ask in its
// place (DNS rebinding).
func forThisMachine(open, remote http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case len(r.Header.Values("Authorization")) > 0:
			remote.ServeHTTP(w, r)
		case !loopbackHost(r.Host):
			http.Error(w, "This listener answers to localhost, 127.0.0.1 and [::1] only: ask for it by one of these names.", http.StatusMisdirectedRequest)
		default:
			open.ServeHTTP(w, r)
		}
	})
}

// loopbackHost judges the Host of a request, or a configured address, with or without
// a port. A name counts as loopback only where it is localhost.
func loopbackHost(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = strings.TrimSuffix(strings.TrimPrefix(hostport, "["), "]")
	}
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}

// serveNetwork serves those who need not be friends, with TLS where there is a
// configuration for it.
func (g *Gateway) serveNetwork(ctx context.Context, l net.Listener, h http.Handler, conf *tls.Config) error {
	s := newServer(http.MaxBytesHandler(h, mostRequest), g.log)
	s.TLSConfig = conf
	s.WriteTimeout = answerLimit + g.config.OpenFiskal.Timeout
	// No token stays in the tables of header compression.
	s.HTTP2 = &http.HTTP2Config{MaxConcurrentStreams: mostStreams, MaxDecoderHeaderTableSize: 1}
	return serve(ctx, s, newCrowd(l, g.meters.turnedAway.Inc))
}

func newServer(h http.Handler, to *slog.Logger) *http.Server {
	return &http.Server{Handler: survive(h, to), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 30 * time.Second, IdleTimeout: idleLimit,
		MaxHeaderBytes: mostHeaders, ErrorLog: log.New(quiet{to}, "", 0)}
}

func serve(ctx context.Context, s *http.Server, l net.Listener) error {
	ended := make(chan error, 1)
	go func() {
		if s.TLSConfig != nil {
			ended <- s.ServeTLS(l, "", "")
			return
		}
		ended <- s.Serve(l)
	}()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownLimit)
	defer cancel()
	if s.Shutdown(stop) != nil {
		s.Close() // somebody holds a connection; the site does not wait for him
	}
	<-ended
	return nil
}

// survive ends the one connection whose request ran into a fault. net/http would
// print what the fault says, and a key may be in it.
func survive(h http.Handler, to *slog.Logger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			switch p := recover(); p {
			case nil:
			case http.ErrAbortHandler:
				panic(p)
			default:
				to.Error("a request ran into a fault of the gateway", "kind", fmt.Sprintf("%T", p), "stack", string(debug.Stack()))
				panic(http.ErrAbortHandler)
			}
		}()
		h.ServeHTTP(w, r)
	})
}

// quiet takes what net/http says of its connections: worth having when somebody
// looks for a fault, and up to the first quotation mark, behind which it quotes
// what was sent.
type quiet struct{ to *slog.Logger }

func (q quiet) Write(line []byte) (int, error) {
	said, _, _ := strings.Cut(string(line), "\n")
	said, _, _ = strings.Cut(said, `"`)
	q.to.Debug("the HTTP server", "says", said)
	return len(line), nil
}
