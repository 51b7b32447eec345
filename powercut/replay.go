package main

import (
	"bytes"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// step is one thing that has happened, in the order of the recording: a change of
// the disk, a sync, or something that the world outside has seen.
type step struct {
	at     int // line of the recording
	do     func(*disk) error
	seen   *promise
	change bool // of the disk
	fill   bool // it writes zeros and nothing else
}

// promise is what the world outside has seen: after it, the disk has to know.
type promise struct {
	note   string            // of the stage: a command was answered, a request was carried out
	values map[string]string // of the note
	ack    *acknowledged
	sent   string // idempotency key of a request whose bytes have left
}

// acknowledged is a PUBACK that has left.
type acknowledged struct {
	port   string // of the device's connection
	packet uint16
	code   byte
}

// reader turns the calls of a recording into steps.
type reader struct {
	root  string // the watched folder
	notes string // where the stage writes what it has seen
	mqtt  string // ":port" of the gateway's MQTT
	api   string // ":port" of the stand-in
	lines map[string]*mqttStream
	steps []step
}

func readSteps(calls []call, root, notes, mqtt, api string) ([]step, error) {
	r := &reader{root: root, notes: notes, mqtt: mqtt, api: api, lines: map[string]*mqttStream{}}
	for i := range calls {
		if err := r.take(&calls[i]); err != nil {
			return nil, fmt.Errorf("line %d: %w", calls[i].begun, err)
		}
	}
	slices.SortStableFunc(r.steps, func(a, b step) int { return a.at - b.at })
	return r.steps, nil
}

// below gives a path inside the watched folder.
func (r *reader) below(path string) (string, bool) {
	if path == r.root {
		return ".", true
	}
	name, ok := strings.CutPrefix(filepath.Clean(path), r.root+"/")
	return name, ok
}

func (r *reader) change(c *call, do func(*disk) error) {
	r.steps = append(r.steps, step{at: c.begun, do: do, change: true})
}

func (r *reader) take(c *call) error {
	switch c.name {
	case "open", "openat", "creat":
		return r.open(c)
	case "write", "pwrite64", "writev", "lseek", "ftruncate", "fsync", "fdatasync", "fallocate", "pwritev", "pwritev2", "sync_file_range", "copy_file_range", "sendfile", "splice":
		return r.descriptor(c)
	case "sync", "syncfs":
		return fmt.Errorf("%s is not understood", c.name)
	}
	return r.name(c)
}

func (r *reader) open(c *call) error {
	if c.result < 0 {
		return nil
	}
	flags := c.args[min(1, len(c.args)-1)]
	path := c.path(-1, 0)
	if c.name == "openat" {
		path, flags = c.path(0, 1), c.args[2]
	}
	name, ok := r.below(path)
	if !ok || c.name == "creat" {
		return nil
	}
	has := func(flag string) bool { return slices.Contains(strings.Split(flags, "|"), flag) }
	if has("O_TMPFILE") || has("O_DSYNC") || has("O_SYNC") {
		return fmt.Errorf("open with %s is not understood", flags)
	}
	creates, truncates, appends := has("O_CREAT"), has("O_TRUNC"), has("O_APPEND")
	r.change(c, func(d *disk) error {
		ino := d.live[name]
		if ino == nil && creates {
			ino = d.create(name, false, c.ended)
		}
		if ino == nil {
			return fmt.Errorf("%s was opened, and is not known", name)
		}
		if truncates {
			d.truncate(ino, 0, c.ended)
		}
		if !ino.dir {
			ino.cursor, ino.append = 0, appends
		}
		return nil
	})
	if !creates && !truncates {
		r.steps[len(r.steps)-1].change = false
	}
	return nil
}

// descriptor takes the calls on something that is open.
func (r *reader) descriptor(c *call) error {
	path, gone := c.file(0)
	if strings.HasPrefix(path, "TCP:") {
		return r.socket(c, path)
	}
	if path == r.notes && c.name == "write" {
		return r.note(c)
	}
	name, ok := r.below(path)
	if !ok || gone || volatileFile(name) {
		return nil
	}
	if c.syncs() && c.ended == never {
		r.steps = append(r.steps, step{at: c.begun, do: func(d *disk) error { d.unanswered(name, c.begun); return nil }})
		return nil
	}
	if c.syncs() {
		r.steps = append(r.steps, step{at: c.ended, do: func(d *disk) error { d.sync(name, c.begun); return nil }})
		return nil
	}
	do, err := r.content(c)
	if err != nil {
		return err
	}
	r.change(c, func(d *disk) error {
		ino := d.live[name]
		if ino == nil {
			return fmt.Errorf("%s of %s, which is not known", c.name, name)
		}
		return do(d, ino)
	})
	last := &r.steps[len(r.steps)-1]
	last.change = c.name != "lseek"
	last.fill = c.name == "pwrite64" && len(bytes.Trim(c.bytes(1), "\x00")) == 0
	return nil
}

// content gives what a call does to a file.
func (r *reader) content(c *call) (func(*disk, *inode) error, error) {
	data := func(i int) []byte {
		b := c.bytes(i)
		if c.result >= 0 && c.result < int64(len(b)) {
			b = b[:c.result] // it did not write all
		}
		return b
	}
	switch c.name {
	case "pwrite64":
		off, err := c.number(3)
		b := data(1)
		return func(d *disk, ino *inode) error { d.write(ino, off, b, c.ended); return nil }, err
	case "write":
		b := data(1)
		return func(d *disk, ino *inode) error {
			if ino.append {
				ino.cursor = int64(len(ino.live))
			}
			d.write(ino, ino.cursor, b, c.ended)
			ino.cursor += int64(len(b))
			return nil
		}, nil
	case "ftruncate":
		size, err := c.number(1)
		return func(d *disk, ino *inode) error { d.truncate(ino, size, c.ended); return nil }, err
	case "lseek":
		return func(_ *disk, ino *inode) error { ino.cursor = c.result; return nil }, nil
	}
	return nil, fmt.Errorf("%s of a watched file is not understood", c.name)
}

// name takes the calls that change names.
func (r *reader) name(c *call) error {
	var paths []string
	switch c.name {
	case "unlink", "rmdir", "mkdir":
		paths = []string{c.path(-1, 0)}
	case "unlinkat", "mkdirat":
		paths = []string{c.path(0, 1)}
	case "rename", "link":
		paths = []string{c.path(-1, 0), c.path(-1, 1)}
	case "renameat", "renameat2", "linkat":
		paths = []string{c.path(0, 1), c.path(2, 3)}
	default:
		if strings.Contains(plain(strings.Join(c.args, " ")), r.root) {
			return fmt.Errorf("%s in the watched folder is not understood", c.name)
		}
		return nil
	}
	names, inside := make([]string, len(paths)), 0
	for i, p := range paths {
		var ok bool
		if names[i], ok = r.below(p); ok {
			inside++
		}
	}
	switch {
	case inside == 0 || volatileFile(names[0]) && c.name != "rename" && c.name != "renameat":
		return nil
	case inside < len(paths):
		return fmt.Errorf("%s crosses the border of the watched folder", c.name)
	}
	r.change(c, func(d *disk) error {
		switch strings.TrimRight(c.name, "at2") {
		case "unlink", "rmdir":
			d.remove(names[0], c.ended)
		case "mkdir":
			d.create(names[0], true, c.ended)
		case "link":
			d.link(names[0], names[1], c.ended)
		default:
			if ino := d.live[names[0]]; ino != nil && ino.dir {
				return fmt.Errorf("the rename of directory %s is not understood", names[0])
			}
			d.rename(names[0], names[1], c.ended)
		}
		return nil
	})
	return nil
}
