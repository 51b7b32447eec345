package siteca

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// lookEvery is how often the operator's files are looked at, at most.
const lookEvery = 2 * time.Second

// Files is the operator's own certificate: a chain and its private key, in PEM,
// taken into use again when they change. A pair that is broken or half replaced
// never takes the place of one that works.
type Files struct {
	certPath, keyPath string
	every             time.Duration
	serving           atomic.Pointer[tls.Certificate]

	mu      sync.Mutex // one handshake looks at the files, the others go on
	looked  time.Time
	loaded  [2]fs.FileInfo
	problem error
}

// FromFiles loads a certificate chain and its key. The key must not be readable
// by others.
func FromFiles(certFile, keyFile string) (*Files, error) {
	f := &Files{certPath: certFile, keyPath: keyFile, every: lookEvery}
	now, err := f.stat()
	if err == nil {
		err = f.load(now)
	}
	if err != nil {
		return nil, fmt.Errorf("open certificate: %w", err)
	}
	f.looked = time.Now()
	return f, nil
}

// GetCertificate serves tls.Config.
func (f *Files) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	if f.mu.TryLock() {
		if time.Since(f.looked) >= f.every {
			f.look()
			f.looked = time.Now()
		}
		f.mu.Unlock()
	}
	return f.serving.Load(), nil
}

// Leaf is the certificate in use.
func (f *Files) Leaf() *x509.Certificate { return f.serving.Load().Leaf }

// Problem is why the files as they are now are not in use, nil if they are: the
// certificate served is then an older one, and a person should know.
func (f *Files) Problem() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.look()
	return f.problem
}

// look loads what has changed. What could not be loaded counts as not seen, so
// that the next look tries again.
func (f *Files) look() {
	now, err := f.stat()
	if err == nil && !changed(f.loaded, now) {
		f.problem = nil
		return
	}
	if err == nil {
		err = f.load(now)
	}
	f.problem = nil
	if err != nil {
		f.problem = fmt.Errorf("reload certificate: %w", err)
	}
}

func (f *Files) stat() ([2]fs.FileInfo, error) {
	cert, certErr := os.Stat(f.certPath)
	key, keyErr := os.Stat(f.keyPath)
	return [2]fs.FileInfo{cert, key}, errors.Join(certErr, keyErr)
}

func changed(before, now [2]fs.FileInfo) bool {
	for i := range now {
		if !os.SameFile(before[i], now[i]) || !before[i].ModTime().Equal(now[i].ModTime()) || before[i].Size() != now[i].Size() || before[i].Mode() != now[i].Mode() {
			return true
		}
	}
	return false
}

func (f *Files) load(now [2]fs.FileInfo) error {
	if err := checkMode(f.keyPath); err != nil {
		return err
	}
	pair, err := tls.LoadX509KeyPair(f.certPath, f.keyPath)
	if err != nil {
		return fmt.Errorf("%s with %s: %w", f.certPath, f.keyPath, err)
	}
	f.serving.Store(&pair)
	f.loaded = now
	return nil
}
