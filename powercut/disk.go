package main

import (
	"maps"
	"path"
	"slices"
	"strings"
)

// inode is a file or a directory, whatever its names. synced is never changed in
// place: states that were made earlier still hold it.
type inode struct {
	dir    bool
	synced []byte // what a power cut cannot take
	live   []byte // what the processes see
	cursor int64  // of write, which has no offset of its own
	append bool
}

type opKind uint8

const (
	opWrite opKind = iota
	opTruncate
	opName   // a name appears: create, link, mkdir
	opRemove // a name goes: unlink, rmdir
	opRename
)

// op is a change that no sync has covered yet: the power may go with or without it.
type op struct {
	kind  opKind
	ended int  // line of the recording; a sync that began later covers it
	given bool // to a sync that was not answered: no later one covers it
	ino   *inode
	off   int64
	data  []byte
	size  int64    // of a truncation
	name  string   // of what appears, goes, or was renamed to
	from  string   // of a rename
	dirs  []string // that have to be synced before it is sure
}

// disk is the watched folder: what is sure, what the processes see, and what lies
// between. It promises no more than POSIX does: a sync of a file covers its content
// and not its name, a name is sure once its directory was synced, and what was not
// synced may be there in any combination.
type disk struct {
	names   map[string]*inode // sure
	live    map[string]*inode
	pending []*op
}

func newDisk(files map[string][]byte) *disk {
	d := &disk{names: map[string]*inode{".": {dir: true}}, live: map[string]*inode{}}
	for name, content := range files {
		d.names[name] = &inode{dir: content == nil, synced: content, live: slices.Clone(content)}
	}
	maps.Copy(d.live, d.names)
	return d
}

func (d *disk) add(o *op) { d.pending = append(d.pending, o) }

// create makes a name for a new file or directory.
func (d *disk) create(name string, dir bool, ended int) *inode {
	ino := &inode{dir: dir}
	d.live[name] = ino
	d.add(&op{kind: opName, ended: ended, ino: ino, name: name, dirs: []string{path.Dir(name)}})
	return ino
}

func (d *disk) link(from, to string, ended int) {
	if ino := d.live[from]; ino != nil {
		d.live[to] = ino
		d.add(&op{kind: opName, ended: ended, ino: ino, name: to, dirs: []string{path.Dir(to)}})
	}
}

func (d *disk) remove(name string, ended int) {
	if ino := d.live[name]; ino != nil {
		delete(d.live, name)
		d.add(&op{kind: opRemove, ended: ended, ino: ino, name: name, dirs: []string{path.Dir(name)}})
	}
}

// rename is wholly there or not at all, and sure once both directories are.
func (d *disk) rename(from, to string, ended int) {
	ino := d.live[from]
	if ino == nil {
		return
	}
	delete(d.live, from)
	d.live[to] = ino
	dirs := []string{path.Dir(to)}
	if other := path.Dir(from); other != dirs[0] {
		dirs = append(dirs, other)
	}
	d.add(&op{kind: opRename, ended: ended, ino: ino, from: from, name: to, dirs: dirs})
}

func (d *disk) write(ino *inode, off int64, data []byte, ended int) {
	o := &op{kind: opWrite, ended: ended, ino: ino, off: off, data: data}
	if ended != never {
		ino.live = o.on(ino.live)
	}
	d.add(o)
}

func (d *disk) truncate(ino *inode, size int64, ended int) {
	if int64(len(ino.live)) == size {
		return
	}
	o := &op{kind: opTruncate, ended: ended, ino: ino, size: size}
	ino.live = o.on(ino.live)
	d.add(o)
}

// sync makes sure what was done to a file, or to the names of a directory, before
// line began.
func (d *disk) sync(name string, began int) {
	ino := d.live[name]
	if ino == nil {
		return
	}
	left, own := d.pending[:0:0], false
	for _, o := range d.pending {
		switch {
		case o.ended == never && o.kind <= opTruncate && o.ino == ino:
			// Its process was killed in the middle of it, and whoever syncs has looked
			// since: it has not happened, or the end of the recording would tell.
			continue
		case o.ended >= began, o.given:
		case o.kind <= opTruncate && o.ino == ino:
			if !own { // earlier states share the bytes
				ino.synced, own = slices.Clone(ino.synced), true
			}
			ino.synced = o.on(ino.synced)
			left = o.over(left)
			continue
		case o.kind > opTruncate:
			o.dirs = slices.DeleteFunc(slices.Clone(o.dirs), func(dir string) bool { return ino.dir && dir == name })
			if len(o.dirs) == 0 {
				o.rename(d.names)
				if o.kind == opRemove && o.ino.dir { // a folder of that name is another one
					left = slices.DeleteFunc(left, func(p *op) bool { return p.kind > opTruncate && strings.HasPrefix(p.name, o.name+"/") })
				}
				continue
			}
		}
		left = append(left, o)
	}
	d.pending = left
}

// unanswered is a sync that failed, or whose process was killed in the middle of it. The
// system may have let go of what it was to write, and a later sync of the same file
// brings only what was written again: the processes still see it, and no disk has it.
func (d *disk) unanswered(name string, began int) {
	ino := d.live[name]
	for i, o := range d.pending {
		if ino != nil && o.ino == ino && o.kind == opWrite && o.ended < began {
			given := *o // earlier states share it
			given.given = true
			d.pending[i] = &given
		}
	}
}

// over takes from what an unanswered sync has let go what o has written again.
func (o *op) over(left []*op) (rest []*op) {
	from, to := o.off, o.off+int64(len(o.data))
	if o.kind == opTruncate {
		from, to = o.size, never
	}
	for _, p := range left {
		end := p.off + int64(len(p.data))
		if !p.given || p.ino != o.ino || end <= from || p.off >= to {
			rest = append(rest, p)
			continue
		}
		if p.off < from {
			before := *p
			before.data = p.data[:from-p.off]
			rest = append(rest, &before)
		}
		if end > to {
			behind := *p
			behind.off, behind.data = to, p.data[to-p.off:]
			rest = append(rest, &behind)
		}
	}
	return rest
}

// on carries out a change of content.
func (o *op) on(b []byte) []byte {
	end := o.off + int64(len(o.data))
	if o.kind == opTruncate {
		end = o.size
		if end < int64(len(b)) {
			return b[:end:end]
		}
	}
	if grow := end - int64(len(b)); grow > 0 {
		b = append(b, make([]byte, grow)...)
	}
	copy(b[o.off:], o.data)
	return b
}

// rename carries out a change of names.
func (o *op) rename(names map[string]*inode) {
	switch o.kind {
	case opName:
		names[o.name] = o.ino
	case opRemove:
		delete(names, o.name)
		if o.ino.dir { // with whatever was left in it
			maps.DeleteFunc(names, func(name string, _ *inode) bool { return strings.HasPrefix(name, o.name+"/") })
		}
	case opRename:
		if names[o.from] == o.ino {
			delete(names, o.from)
		}
		names[o.name] = o.ino
	}
}

// image is the content of a folder after a power cut; nil is a directory.
type image map[string][]byte

// image gives the state in which these of the changes have reached the disk.
func (d *disk) image(kept []*op) image {
	names := maps.Clone(d.names)
	content := map[*inode][]byte{}
	for _, o := range kept {
		if o.kind > opTruncate {
			o.rename(names)
			continue
		}
		b, own := content[o.ino]
		if !own {
			b = slices.Clone(o.ino.synced)
		}
		content[o.ino] = o.on(b)
	}
	img := image{}
	for name, ino := range names {
		if name == "." || !reachable(names, name) || volatileFile(name) {
			continue
		}
		switch b, own := content[ino]; {
		case ino.dir:
			img[name] = nil
		case own:
			img[name] = b
		default:
			img[name] = ino.synced
		}
		if !ino.dir && img[name] == nil {
			img[name] = []byte{}
		}
	}
	return img
}

// reachable reports whether the directories above a name are there.
func reachable(names map[string]*inode, name string) bool {
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		if ino := names[dir]; ino == nil || !ino.dir {
			return false
		}
	}
	return true
}

// volatileFile tells what no state holds: SQLite's shared memory, which it makes
// anew where no process has it open, and the commands' socket.
func volatileFile(name string) bool {
	return strings.HasSuffix(name, "-shm") || strings.HasSuffix(name, ".sock")
}
