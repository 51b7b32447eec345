package gateway

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
)

// reserveFile holds space that is given up when there is none left.
const reserveFile = "reserve"

// reserve is a file of the data directory that holds nothing but its place. Without
// it a disk that somebody else has filled would keep the gateway from noting that
// OpenFiskal has confirmed a sale.
type reserve struct {
	path string
	log  *slog.Logger
	held bool
}

// openReserve finds out whether the reserve is there.
func openReserve(dir string, log *slog.Logger) *reserve {
	r := &reserve{path: filepath.Join(dir, reserveFile), log: log}
	info, err := os.Stat(r.path)
	r.held = err == nil && info.Size() == reserveBytes
	return r
}

// tend gives the reserve up where nearly nothing is free, and takes it where there is
// plenty.
func (r *reserve) tend(free, limit int64) {
	switch {
	case r.needed(free):
		r.giveUp()
	case !r.held && free >= limit+2*reserveBytes:
		if err := r.take(); err != nil {
			r.log.Warn("no space can be set aside", "cause", err)
		} else {
			r.held = true
		}
	}
}

// makeRoom gives the reserve up before the database is opened, where somebody has filled
// the disk meanwhile: to open it something has to be written.
func (k *control) makeRoom() {
	r := openReserve(k.config.DataDir, k.log)
	if s := space(k.config.DataDir); s != nil && r.needed(s.Free) {
		r.giveUp()
	}
}

// needed reports whether it is there, and nearly nothing else.
func (r *reserve) needed(free int64) bool { return r.held && free < reserveGone }

func (r *reserve) giveUp() {
	if err := os.Remove(r.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		r.log.Error("the space that was set aside cannot be given up", "cause", err)
		return
	}
	r.held = false
	r.log.Warn("the disk is full: the space that was set aside is given up, so that what waits can be sent", "bytes", reserveBytes)
}

func (r *reserve) take() error {
	f, err := os.OpenFile(r.path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	err = errors.Join(allocate(f, reserveBytes), f.Close())
	if err != nil {
		err = errors.Join(err, os.Remove(r.path)) // half of it is no use
	}
	return err
}
