package support

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

// cut makes a part fit. Of lines the newest stay, which are at the end; of a JSON
// array the first rows, so that it stays JSON. Other JSON cannot be cut.
func cut(name string, text []byte, most int) (kept []byte, where string, err error) {
	switch {
	case len(text) <= most:
		return text, "", nil
	case strings.HasSuffix(name, ".json"):
		return cutRows(text, most)
	}
	text = text[len(text)-most:]
	if i := bytes.IndexByte(text, '\n'); i >= 0 {
		text = text[i+1:] // a line that lost its beginning would be read for a whole one
	}
	return text, "at its beginning", nil
}

func cutRows(text []byte, most int) (kept []byte, where string, err error) {
	var rows []json.RawMessage
	if json.Unmarshal(text, &rows) != nil {
		return nil, "", fmt.Errorf("it has %d bytes, and there is room for %d", len(text), most)
	}
	size, n := len("[\n]\n"), 0
	for _, r := range rows {
		if size += len(r) + len(",\n"); size > most {
			break
		}
		n++
	}
	var b bytes.Buffer
	b.WriteString("[\n")
	for i, r := range rows[:n] {
		b.Write(r)
		if i < n-1 {
			b.WriteByte(',')
		}
		b.WriteByte('\n')
	}
	b.WriteString("]\n")
	if b.Len() > most {
		return nil, "", fmt.Errorf("there is room for %d bytes", most)
	}
	return b.Bytes(), fmt.Sprintf("the last %d of %d rows", len(rows)-n, len(rows)), nil
}
