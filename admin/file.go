package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// makeLimit bounds how long a file may be in the making before its first byte comes,
// and takeLimit how long whoever asked may take for a piece of it. A server's own
// limit is for a whole answer.
const (
	makeLimit = 30 * time.Minute
	takeLimit = 30 * time.Second
)

// SendFile answers with a file that is being made. An error is given back where the
// answer has not begun; later it breaks the connection, so that half a file does not
// pass for one.
func SendFile(w http.ResponseWriter, name, media string, write func(io.Writer) error) error {
	f := &fileWriter{w: w, name: name, media: media}
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(makeLimit))
	err := write(f)
	if err != nil && f.begun {
		panic(http.ErrAbortHandler)
	}
	return err
}

type fileWriter struct {
	w           http.ResponseWriter
	name, media string
	begun       bool
}

func (f *fileWriter) Write(p []byte) (int, error) {
	if !f.begun {
		f.begun = true
		h := f.w.Header()
		h.Set("Content-Type", f.media)
		h.Set("Content-Disposition", `attachment; filename="`+f.name+`"`)
		h.Set("Cache-Control", "no-store")
	}
	_ = http.NewResponseController(f.w).SetWriteDeadline(time.Now().Add(takeLimit))
	return f.w.Write(p)
}

// file asks the gateway for a file that is made for it.
func (c *Client) file(ctx context.Context, method, path string, body any, media string, w io.Writer, by string) error {
	answer, err := c.ask(ctx, method, path, body, by)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode >= 300 {
		return refusedBy(answer)
	}
	if mediaType(answer.Header.Get("Content-Type")) != media {
		return errors.New("ask the gateway: it does not know that; it is of another version")
	}
	if _, err := io.Copy(w, answer.Body); err != nil {
		return fmt.Errorf("read the gateway's answer: %w; its log says why it broke off", err)
	}
	return nil
}
