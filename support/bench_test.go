package support

import (
	"strings"
	"testing"
)

func BenchmarkRedact(b *testing.B) {
	line := `time=2026-11-26T08:00:00.123456789Z level=WARN msg="register queue is blocked" register=reg_01HXYZABCDEFGHJKMNPQRSTVWX sale=pump-01/4711 code=validation_error` + "\n"
	text := strings.Repeat(line, 1<<20/len(line))
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		Redact(text)
	}
}
