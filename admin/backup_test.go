package admin

import (
	"bytes"
	"context"
	"io"
	"strings"
	"testing"

	"edgegw/secret"
)

func (m *memory) Backup(_ context.Context, passphrase secret.Text, w io.Writer, by string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.who = append(m.who, by)
	if len(passphrase.Reveal()) < 12 {
		return &Refusal{Code: "invalid", Message: "too short: " + string(passphrase.Reveal())}
	}
	_, err := w.Write(bytes.Repeat([]byte("x"), 100_000))
	return err
}

func TestABackupOverTheSocket(t *testing.T) {
	m, path, said := serve(t)
	c := dial(t, path)
	var got bytes.Buffer
	if err := c.Backup(t.Context(), secret.FromString("CANARY of many words"), &got, "cli:me"); err != nil || got.Len() != 100_000 || m.who[0] != "cli:me" {
		t.Errorf("%d bytes, %v, %q", got.Len(), err, m.who)
	}
	if !bytes.Contains(said.Bytes(), []byte("Content-Type:[application/age-encryption]")) {
		t.Errorf("the answer: %.300s", said)
	}
	err := c.Backup(t.Context(), secret.FromString("CANARY"), io.Discard, "")
	if refusalCode(err) != "invalid" || strings.Contains(err.Error(), "CANARY") {
		t.Errorf("a passphrase that is too short: %v", err)
	}
}
