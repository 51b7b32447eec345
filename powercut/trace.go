package main

import (
	"bufio"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// traced are the system calls that are recorded: everything that changes a file
// or a name, everything that syncs, and what leaves through a socket. One that
// changes files and is not understood ends the reading of a recording: a rig that
// overlooks writes proves nothing.
const traced = "openat,creat,open,write,pwrite64,writev,pwritev,pwritev2,ftruncate,truncate,fsync,fdatasync,sync,syncfs,sync_file_range," +
	"rename,renameat,renameat2,unlink,unlinkat,link,linkat,symlink,symlinkat,mkdir,mkdirat,rmdir,lseek,fallocate,copy_file_range,sendfile,splice"

// call is a system call that has succeeded, or a sync. It was begun and ended at these
// lines of the recording; between them it may have had its effect already.
type call struct {
	begun, ended int
	name         string
	args         []string
	result       int64
	opened       string // of an open: the path that strace read back
}

// readCalls gives the calls of a recording of strace -f -yy -xx in the order in
// which they began.
func readCalls(r io.Reader) (calls []call, err error) {
	type half struct {
		line int
		text string
	}
	open := map[string]half{}
	in := bufio.NewReaderSize(r, 1<<20)
	for n := 1; ; n++ {
		text, err := in.ReadString('\n')
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		pid, text, _ := strings.Cut(strings.TrimSuffix(text, "\n"), " ")
		text, begun := strings.TrimLeft(text, " "), n
		if before, ok := strings.CutSuffix(text, " <unfinished ...>"); ok {
			open[pid] = half{n, before}
			continue
		}
		if after, ok := strings.CutPrefix(text, "<... "); ok {
			_, rest, found := strings.Cut(after, " resumed>")
			if h := open[pid]; found && h.line != 0 {
				text, begun = h.text+rest, h.line
			}
			delete(open, pid)
		}
		c, ok, err := readCall(text)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		if ok {
			if c.begun, c.ended = begun, n; c.result < 0 {
				c.ended = never
			}
			calls = append(calls, c)
		}
	}
	// What had not returned when its process was killed may have happened: it is
	// taken as begun, and never as ended.
	for _, h := range open {
		c, ok, err := readCall(h.text + ") = ?")
		if err == nil && ok {
			c.begun, c.ended = h.line, never
			calls = append(calls, c)
		}
	}
	slices.SortStableFunc(calls, func(a, b call) int { return a.begun - b.begun })
	return calls, nil
}

const never = 1 << 60

// readCall takes one whole line apart; ok is false for what has failed or is no
// call. A sync that has failed is a call: it changes what later ones mean.
func readCall(text string) (c call, ok bool, err error) {
	name, rest, found := strings.Cut(text, "(")
	at := strings.LastIndex(rest, " = ")
	if !found || at < 0 || strings.HasPrefix(text, "+++") || strings.HasPrefix(text, "---") {
		return c, false, nil
	}
	inside, whole := strings.CutSuffix(strings.TrimRight(rest[:at], " "), ")") // a result that came later is padded
	if !whole {
		return c, false, fmt.Errorf("%s is not understood", name)
	}
	c.name, c.args = name, strings.Split(inside, ", ")
	result := rest[at+len(" = "):]
	number, tail, _ := strings.Cut(result, " ")
	number, path, _ := strings.Cut(number, "<")
	if number == "?" || strings.Contains(result, "errno 18446744073709551615") { // of a process that is gone
		c.result = -1
		return c, true, nil
	}
	if c.result, err = strconv.ParseInt(number, 0, 64); err != nil {
		return c, false, fmt.Errorf("result %q of %s: %w", number, name, err)
	}
	if path != "" {
		c.opened, _, _ = strings.Cut(path+" "+tail, ">")
		c.opened = plain(c.opened)
	}
	return c, c.result >= 0 || c.syncs(), nil
}

func (c *call) syncs() bool { return c.name == "fsync" || c.name == "fdatasync" }

// plain undoes strace's hexadecimal.
func plain(text string) string { return string(unhex(text)) }

func unhex(text string) []byte {
	b := make([]byte, 0, len(text)/4)
	for i := 0; i < len(text); i++ {
		if text[i] == '\\' && i+3 < len(text) && text[i+1] == 'x' {
			if v, err := strconv.ParseUint(text[i+2:i+4], 16, 8); err == nil {
				b, i = append(b, byte(v)), i+3
				continue
			}
		}
		b = append(b, text[i])
	}
	return b
}

// file gives the path behind a descriptor; gone says that it has no name any more.
func (c *call) file(i int) (path string, gone bool) {
	if i >= len(c.args) {
		return "", false
	}
	arg := strings.Join(c.args[i:i+1], "")
	from := strings.Index(arg, "<")
	if from < 0 {
		return "", false
	}
	gone = strings.Contains(arg, "(deleted)")
	arg = strings.TrimSuffix(arg[from+1:], "(deleted)")
	return strings.TrimSuffix(plain(strings.TrimSuffix(arg, ">")), " (deleted)"), gone
}

// path gives a path argument, below the directory that argument dir names.
func (c *call) path(dir, i int) string {
	p := c.text(i)
	if dir < 0 || filepath.IsAbs(p) {
		return p
	}
	base, _ := c.file(dir)
	return filepath.Join(base, p)
}

func (c *call) text(i int) string {
	if i >= len(c.args) {
		return ""
	}
	return string(c.bytes(i))
}

// bytes gives the content of a string argument, or of a vector of them.
func (c *call) bytes(i int) (all []byte) {
	const mark = `iov_base="`
	arg := c.args[i]
	if !strings.HasPrefix(arg, "[") {
		return unhex(strings.Trim(arg, `"`))
	}
	for _, part := range c.args[i:] {
		if at := strings.Index(part, mark); at >= 0 {
			text, _, _ := strings.Cut(part[at+len(mark):], `"`)
			all = append(all, unhex(text)...)
		}
	}
	return all
}

func (c *call) number(i int) (int64, error) {
	if i >= len(c.args) {
		return 0, fmt.Errorf("%s has no argument %d", c.name, i)
	}
	return strconv.ParseInt(c.args[i], 0, 64)
}
