package fiscal

import (
	"bytes"
	"net/http"
	"strings"

	"edgegw/secret"
	"edgegw/wording"
)

// credential is what a request is proved with: a register key, or a platform
// key with the organization that it acts for (decisions 1 and 11).
type credential struct {
	key          secret.Text
	organization string // set: a platform key
}

// stamp puts the credential, and no other, into the headers.
func (c credential) stamp(h http.Header) {
	if c.organization == "" {
		h[headerRegisterKey] = []string{string(c.key.Reveal())}
		return
	}
	h["Authorization"] = []string{"Bearer " + string(c.key.Reveal())}
	h.Set(headerOrganization, c.organization)
}

// Errors of KeyFits.
var (
	errLiveKey = wording.Err(nil, "this is a live key, and openfiskal.base_url names a sandbox: nothing was sent")
	errTestKey = wording.Err(nil, "this is a test key, and openfiskal.base_url names the live OpenFiskal: nothing was sent")
)

// KeyFits reports whether a key may go to a host: a live key never goes to a
// sandbox, nor a test key to the live service (decision 12). Of a host that is
// not OpenFiskal's own, a stand-in, nothing is known.
func KeyFits(host string, key secret.Text) error {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if host != officialDomain && !strings.HasSuffix(host, "."+officialDomain) {
		return nil
	}
	first, _, _ := strings.Cut(host, ".")
	switch b, sandboxed := key.Reveal(), first != liveHost; {
	case sandboxed && marked(b, "live"):
		return errLiveKey
	case !sandboxed && (marked(b, "test") || marked(b, "sandbox")):
		return errTestKey
	}
	return nil
}

// marked reports whether the key says so of itself: ofk_reg_live_…
func marked(key []byte, kind string) bool {
	parts := bytes.SplitN(key, []byte("_"), 4)
	return len(parts) == 4 && string(parts[0]) == "ofk" && string(parts[2]) == kind
}
