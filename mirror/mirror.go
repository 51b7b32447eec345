// Package mirror keeps a second journal: what the database has just committed, in
// files of their own, so that they can lie on another medium. It knows files and
// frames, and nothing of what they hold. It promises that a frame which Append has
// returned nil for is synced, that a frame which was damaged, torn or left by an
// earlier use of its file is never given as one, and that it needs no more room
// than it was given. It never syncs again after a sync that failed.
//
// There are two files. Frames go into one of them, a generation, until it is full;
// the next generation begins in the other one with all that still counts, written
// anew by whoever uses it, and only when that is complete does the first one not
// count any more.
package mirror

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
)

// Errors that callers test for.
var (
	// ErrFull is given for a frame that does not fit into the generation.
	ErrFull = errors.New("the second journal is full")
	// ErrFailed is given after a write or a sync has failed, until Begin.
	ErrFailed = errors.New("the second journal has failed before")
)

// File is what is needed of a file.
type File interface {
	ReadAt(b []byte, at int64) (int, error)
	WriteAt(b []byte, at int64) (int, error)
	Sync() error // of the data, and of what is needed to find it
	Close() error
}

// Options are the size, and what a test may replace.
type Options struct {
	Bytes int64 // of both files together
	Disk  func(File) File
}

const (
	headSize  = 4096
	frameHead = 24
	align     = 8
	growth    = 1 << 20 // a file grows by this, filled with zeros, ahead of its frames
	least     = 2 * (headSize + 64<<10)
)

var (
	magic      = [8]byte{'e', 'd', 'g', 'e', 'g', 'w', '2', 1}
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	names      = [2]string{"journal-a", "journal-b"}
)

// flagWhole marks the frame after which a generation needs no other one.
const flagWhole = 1

// Generation is one use of a file.
type Generation struct {
	ID     string // the caller's
	Before string // the one that it follows; "" for none
	No     uint64
	Schema int  // the caller's
	Whole  bool // it has all that counts, without the one before
	Frames int
	Lost   int // frames that cannot be read, between others that can
	Bytes  int64
}

// Journal is the second journal in one directory. It belongs to one goroutine at a
// time.
type Journal struct {
	dir    string
	o      Options
	found  [2]*Generation
	at     int // the file that is written, -1: none
	file   File
	pos    int64
	grown  int64
	seq    uint64
	failed bool
}

// Open takes the directory, made if absent, and looks at what is in it.
func Open(dir string, o Options) (*Journal, error) {
	if o.Disk == nil {
		o.Disk = func(f File) File { return f }
	}
	o.Bytes = max(o.Bytes, least)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the second journal's directory: %w", err)
	}
	j := &Journal{dir: dir, o: o, at: -1}
	for i := range names {
		g, _, _, err := j.scan(i, nil)
		if err != nil {
			return nil, fmt.Errorf("read the second journal: %w", err)
		}
		j.found[i] = g
	}
	return j, nil
}

// Files are the files of a second journal in a directory.
func Files(dir string) (paths []string) {
	for _, name := range names {
		paths = append(paths, filepath.Join(dir, name))
	}
	return paths
}

// newest gives the file of the newest generation, and whether the other one counts
// as well; -1 where there is none.
func (j *Journal) newest() (at int, both bool) {
	a, b := j.found[0], j.found[1]
	switch {
	case a == nil && b == nil:
		return -1, false
	case b == nil || a != nil && a.No > b.No:
		at = 0
	default:
		at = 1
	}
	n, o := j.found[at], j.found[1-at]
	return at, !n.Whole && o != nil && o.ID == n.Before
}

// Generations gives those that count, the older one first.
func (j *Journal) Generations() (list []Generation) {
	at, both := j.newest()
	if at < 0 {
		return nil
	}
	if both {
		list = append(list, *j.found[1-at])
	}
	return append(list, *j.found[at])
}

// Read gives the frames of the generations that count, oldest first.
func (j *Journal) Read(frame func(g Generation, payload []byte) error) error {
	at, both := j.newest()
	if at < 0 {
		return nil
	}
	order := []int{at}
	if both {
		order = []int{1 - at, at}
	}
	for _, i := range order {
		g := *j.found[i]
		if _, _, _, err := j.scan(i, func(payload []byte) error { return frame(g, payload) }); err != nil {
			return fmt.Errorf("read the second journal: %w", err)
		}
	}
	return nil
}

// scan reads one file; a generation that cannot be made out is none. next is where
// the next frame goes, with what number.
func (j *Journal) scan(i int, frame func([]byte) error) (g *Generation, next int64, seq uint64, err error) {
	b, err := os.ReadFile(filepath.Join(j.dir, names[i]))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, 0, nil
	}
	if err != nil {
		return nil, 0, 0, err
	}
	g, id := parseHead(b)
	if g == nil {
		return nil, 0, 0, nil
	}
	next = headSize
	for at := int64(headSize); at+frameHead <= int64(len(b)); {
		size, n, flags, ok := frameAt(b[at:], id, seq)
		if !ok {
			at += align // damaged here, or the end: whatever is valid behind was written later
			continue
		}
		g.Lost += int(n - seq)
		g.Frames++
		g.Whole = g.Whole || flags&flagWhole != 0
		if frame != nil {
			if err := frame(b[at+frameHead : at+frameHead+size]); err != nil {
				return nil, 0, 0, err
			}
		}
		seq = n + 1
		at += padded(size)
		next = at
	}
	g.Bytes = next
	return g, next, seq, nil
}

func padded(size int64) int64 { return (frameHead + size + align - 1) / align * align }

// frameAt reads a frame whose number is at least seq.
func frameAt(b []byte, id []byte, seq uint64) (size int64, n uint64, flags byte, ok bool) {
	size = int64(binary.LittleEndian.Uint32(b))
	n = binary.LittleEndian.Uint64(b[8:])
	if size == 0 || size > int64(len(b))-frameHead || n < seq || n > seq+1<<32 {
		return 0, 0, 0, false
	}
	sum := crc32.Update(crc32.Checksum(id, castagnoli), castagnoli, b[:4])
	sum = crc32.Update(sum, castagnoli, b[8:frameHead+size])
	return size, n, b[16], sum == binary.LittleEndian.Uint32(b[4:])
}

func parseHead(b []byte) (*Generation, []byte) {
	if len(b) < headSize || [8]byte(b[:8]) != magic || crc32.Checksum(b[:60], castagnoli) != binary.LittleEndian.Uint32(b[60:]) {
		return nil, nil
	}
	g := &Generation{No: binary.LittleEndian.Uint64(b[8:]), ID: hex.EncodeToString(b[16:32]), Schema: int(binary.LittleEndian.Uint32(b[48:]))}
	if before := [16]byte(b[32:48]); before != [16]byte{} {
		g.Before = hex.EncodeToString(before[:])
	}
	return g, b[16:32]
}

// Continue goes on behind the last frame of the newest generation.
func (j *Journal) Continue() error {
	at, both := j.newest()
	if at < 0 || both || !j.found[at].Whole || j.found[at].Lost > 0 {
		return errors.New("continue the second journal: it is not whole")
	}
	_, next, seq, err := j.scan(at, nil)
	if err != nil {
		return fmt.Errorf("continue the second journal: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(j.dir, names[at]), os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("continue the second journal: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		return errors.Join(err, f.Close())
	}
	j.use(at, j.o.Disk(dataFile{f}), next, info.Size(), seq)
	return nil
}

func (j *Journal) use(at int, f File, pos, grown int64, seq uint64) {
	j.at, j.file, j.pos, j.grown, j.seq, j.failed = at, f, pos, grown, seq, false
}

// Begin begins a generation in the file that counts less. What the other one holds
// counts until a frame of the new one is appended that makes it whole. After a
// failure it uses no byte of what was there.
//
// id is 32 hexadecimal digits that no generation had before.
func (j *Journal) Begin(id string, schema int) error {
	at, _ := j.newest()
	g := &Generation{ID: id, No: 1, Schema: schema}
	if at >= 0 {
		g.No = j.found[at].No + 1
		if j.found[at].Whole {
			g.Before = j.found[at].ID
		} else {
			g.Before, at = j.found[at].Before, 1-at // it never became whole
		}
	}
	target := 0
	if at >= 0 {
		target = 1 - at
	}
	anew := j.failed
	if err := errors.Join(j.closeFile(), j.begin(g, target, anew)); err != nil {
		j.failed = true
		return fmt.Errorf("begin the second journal: %w", err)
	}
	return nil
}

func (j *Journal) begin(g *Generation, target int, anew bool) error {
	path := filepath.Join(j.dir, names[target])
	j.found[target] = nil
	if anew {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return errors.Join(err, f.Close())
	}
	j.use(target, j.o.Disk(dataFile{f}), headSize, info.Size(), 0)
	head := make([]byte, headSize)
	copy(head, magic[:])
	binary.LittleEndian.PutUint64(head[8:], g.No)
	id, err := hex.DecodeString(g.ID)
	if err != nil || len(id) != 16 {
		return fmt.Errorf("%q is no id of a generation", g.ID)
	}
	copy(head[16:], id)
	before, _ := hex.DecodeString(g.Before)
	copy(head[32:48], before)
	binary.LittleEndian.PutUint32(head[48:], uint32(g.Schema))
	binary.LittleEndian.PutUint32(head[60:], crc32.Checksum(head[:60], castagnoli))
	if err := j.grow(headSize + growth); err != nil {
		return err
	}
	if _, err := j.file.WriteAt(head, 0); err != nil {
		return err
	}
	if err := j.file.Sync(); err != nil {
		return err
	}
	j.found[target] = g
	return syncDir(j.dir)
}

// grow fills the file with zeros, so that a frame changes no length and no map of
// blocks.
func (j *Journal) grow(to int64) error {
	to = min((to+growth-1)/growth*growth, j.o.Bytes/2)
	for zeros := make([]byte, 64<<10); j.grown < to; {
		n := min(int64(len(zeros)), to-j.grown)
		if _, err := j.file.WriteAt(zeros[:n], j.grown); err != nil {
			return err
		}
		j.grown += n
	}
	return nil
}

// Room is the largest frame that Append takes.
func (j *Journal) Room() int64 {
	if j.at < 0 || j.failed {
		return 0
	}
	return max(j.o.Bytes/2-j.pos-frameHead-align, 0)
}

// Half reports whether half of the generation's room is used.
func (j *Journal) Half() bool { return j.pos > j.o.Bytes/4 }

// Append writes a frame and syncs it. whole says that with it the generation needs
// no other one. A failure is for good: nobody knows what is on the medium then.
func (j *Journal) Append(payload []byte, whole bool) error {
	switch {
	case j.failed || j.at < 0:
		return ErrFailed
	case len(payload) == 0:
		return errors.New("append to the second journal: the frame is empty")
	case int64(len(payload)) > j.Room():
		return ErrFull
	}
	size := padded(int64(len(payload)))
	b := make([]byte, size)
	binary.LittleEndian.PutUint32(b, uint32(len(payload)))
	binary.LittleEndian.PutUint64(b[8:], j.seq)
	if whole {
		b[16] = flagWhole
	}
	copy(b[frameHead:], payload)
	g := j.found[j.at]
	id, _ := hex.DecodeString(g.ID)
	sum := crc32.Update(crc32.Checksum(id, castagnoli), castagnoli, b[:4])
	sum = crc32.Update(sum, castagnoli, b[8:frameHead+len(payload)])
	binary.LittleEndian.PutUint32(b[4:], sum)
	if err := j.write(b); err != nil {
		j.failed = true
		return fmt.Errorf("append to the second journal: %w", err)
	}
	j.pos += size
	j.seq++
	g.Whole = g.Whole || whole
	g.Frames++
	return nil
}

func (j *Journal) write(b []byte) error {
	if end := j.pos + int64(len(b)); end > j.grown {
		if err := j.grow(end); err != nil {
			return err
		}
	}
	if _, err := j.file.WriteAt(b, j.pos); err != nil {
		return err
	}
	return j.file.Sync()
}

// Close lets go of the file. Safe twice.
func (j *Journal) Close() error { return j.closeFile() }

func (j *Journal) closeFile() (err error) {
	if j.file != nil && !j.failed { // what a failed one says at its end helps nobody
		err = j.file.Close()
	} else if j.file != nil {
		_ = j.file.Close()
	}
	j.file, j.at = nil, -1
	return err
}

// syncDir makes the names in a directory last.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
