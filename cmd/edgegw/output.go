package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"edgegw/card"
)

// output is where a command says its answer. It keeps the first error of a
// write, so that no command says "done" to somebody who saw nothing.
type output struct {
	w io.Writer

	mu  sync.Mutex
	err error
}

// Write passes on, with card numbers masked: whatever a command shows of what
// devices reported. Simulated devices write from several goroutines.
func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	text := b
	if card.Seen(b) {
		text = []byte(card.Mask(string(b)))
	}
	if _, err := o.w.Write(text); err != nil {
		if o.err == nil {
			o.err = err
		}
		return 0, err
	}
	return len(b), nil
}

// lost adds the first error of a write to err, which may tell it already.
func (o *output) lost(err error) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err == nil || errors.Is(err, o.err) {
		return err
	}
	return errors.Join(err, fmt.Errorf("write the output: %w", o.err))
}

// file gives the file behind a command's output, for the size of a terminal.
func file(w io.Writer) (*os.File, bool) {
	if o, ok := w.(*output); ok {
		w = o.w
	}
	f, ok := w.(*os.File)
	return f, ok
}
