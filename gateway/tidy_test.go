package gateway

import (
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"edgegw/broker/brokertest"
)

// A secret that has passed through is gone after a rest, also from a sync.Pool,
// whatever the way by which it came; and memory is not tidied while more come, nor
// without any.
func TestMemoryIsTidiedAtRest(t *testing.T) {
	for _, row := range []struct {
		name string
		pass func(*control)
	}{
		{"a login", func(k *control) {
			_, _ = seen{brokertest.NewGuard(), k.tidy}.Authenticate("pump-01", []byte("secret"), nil)
		}},
		{"a request to OpenFiskal", func(k *control) { k.observed("probe", "2xx", time.Second) }},
		{"a command", func(k *control) {
			h := k.tidy.handler(http.NotFoundHandler())
			h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := &control{tidy: newTidy(), meters: newMeters()}
				<-time.After(time.Hour)
				if k.tidy.look() {
					t.Error("there was nothing to tidy")
				}
				row.pass(k)
				<-time.After(rest - 1)
				row.pass(k)
				<-time.After(rest - 1)
				if k.tidy.look() {
					t.Error("it was no rest yet")
				}
				pooled, left := pooledSecret()
				<-time.After(1)
				if !k.tidy.look() {
					t.Error("it was not tidied")
				}
				if left.Value() != nil {
					t.Error("the secret is still there")
				}
				runtime.KeepAlive(pooled)
				<-time.After(rest)
				if k.tidy.look() {
					t.Error("it was tidied twice")
				}
			})
		})
	}
}

// pooledSecret leaves a buffer in a pool, as net/http does.
//
//go:noinline
func pooledSecret() (*sync.Pool, weak.Pointer[[64]byte]) {
	p, buffer := new(sync.Pool), new([64]byte)
	p.Put(buffer)
	return p, weak.Make(buffer)
}
