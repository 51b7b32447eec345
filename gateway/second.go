package gateway

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"edgegw/health"
	"edgegw/mirror"
	"edgegw/siteca"
	"edgegw/store"
	"edgegw/wording"
)

// mirrorName is the second journal's directory in the data directory, where
// store.mirror_dir names no other.
const mirrorName = "mirror"

// secondJournal is store's second journal in mirror's files. Its medium may come
// after the gateway, or go and come back: it is opened with each beginning.
type secondJournal struct {
	dir    string
	o      mirror.Options
	j      *mirror.Journal
	err    error
	opened chan openedSecond // an opening that has not come back yet; nil: there is none
	unlock func() error      // nil: it is not taken
}

// openedSecond is what became of an opening.
type openedSecond struct {
	j      *mirror.Journal
	unlock func() error
	err    error
}

// secondOpens is how long an opening is waited for: a medium that hangs must not keep a
// site from selling.
const secondOpens = 3 * time.Second

var (
	errSecondHangs = errors.New("its medium does not answer")
	errSecondTaken = errors.New("another gateway has its second journal in this directory: give each a directory of its own (store.mirror_dir)")
)

// open opens it, or says why it cannot be opened now. One that hangs is looked at again
// by the next call, and not begun a second time.
func (s *secondJournal) open() error {
	if s.opened == nil {
		opened := make(chan openedSecond, 1)
		go func() { opened <- openSecondIn(s.dir, s.o) }()
		s.opened = opened
	}
	limit := time.NewTimer(secondOpens)
	defer limit.Stop()
	select {
	case o := <-s.opened:
		s.opened, s.j, s.unlock, s.err = nil, o.j, o.unlock, o.err
	case <-limit.C:
		s.err = errSecondHangs
	}
	return s.err
}

func openSecondIn(dir string, o mirror.Options) (opened openedSecond) {
	if opened.err = os.MkdirAll(dir, 0o700); opened.err != nil {
		return opened
	}
	opened.unlock, opened.err = lock(filepath.Join(dir, "gateway.lock"))
	if errors.Is(opened.err, ErrRunning) {
		opened.err = errSecondTaken
	}
	if opened.err != nil {
		return opened
	}
	if opened.j, opened.err = mirror.Open(dir, o); opened.err != nil {
		opened.err = errors.Join(opened.err, opened.unlock())
		opened.unlock = nil
	}
	return opened
}

// openSecond opens the second journal; nil where it is off.
func (k *control) openSecond() store.Second {
	c := k.config.Store
	if c.MirrorBytes == 0 {
		return nil
	}
	s := &secondJournal{dir: k.mirrorDir(), o: mirror.Options{Bytes: c.MirrorBytes, Disk: k.options.Second}}
	if s.open() != nil {
		k.log.Error("the second journal cannot be opened; it is tried again", "cause", s.err)
	}
	return s
}

func (k *control) mirrorDir() string {
	if dir := k.config.Store.MirrorDir; dir != "" {
		return dir
	}
	return filepath.Join(k.config.DataDir, mirrorName)
}

func (s *secondJournal) Generations() (list []store.SecondGeneration) {
	if s.j == nil {
		return nil
	}
	for _, g := range s.j.Generations() {
		list = append(list, store.SecondGeneration{ID: g.ID, Before: g.Before, Schema: g.Schema, Whole: g.Whole, Lost: g.Lost})
	}
	return list
}

func (s *secondJournal) Read(frame func(generation int, payload []byte) error) error {
	if s.j == nil {
		return s.err
	}
	return s.j.Read(func(g mirror.Generation, payload []byte) error { return frame(int(g.No), payload) })
}

func (s *secondJournal) Continue() error {
	if s.j == nil {
		return s.err
	}
	return s.j.Continue()
}

func (s *secondJournal) Begin(id string, schema int) error {
	if s.j == nil {
		if err := s.open(); err != nil {
			return err
		}
	}
	return s.j.Begin(id, schema)
}

func (s *secondJournal) Append(frame []byte, whole bool) error {
	if s.j == nil {
		return mirror.ErrFailed
	}
	return s.j.Append(frame, whole)
}

func (s *secondJournal) Room() int64 {
	if s.j == nil {
		return 0
	}
	return s.j.Room()
}

func (s *secondJournal) Half() bool { return s.j != nil && s.j.Half() }

func (s *secondJournal) Close() error {
	if s.j == nil {
		return nil // what hangs still is let go by the end of the process
	}
	err := s.j.Close()
	if s.unlock != nil {
		err = errors.Join(err, s.unlock())
		s.unlock = nil
	}
	return err
}

// openDatabase opens the journal and finds the time in it. Where it is damaged, it is
// made again before that, by a gateway: a command that only looks moves no files.
func (k *control) openDatabase(ctx context.Context, mend bool) (err error) {
	if k.config.Store.MirrorBytes == 0 {
		return k.openPlain(ctx)
	}
	suspect := ""
	if mend {
		suspect = lastDamage(k.config.DataDir)
	}
	for {
		second := k.openSecond()
		if err = k.rebuild(ctx, second, suspect, mend); err == nil {
			o := store.Options{Disk: k.options.Disk, Log: k.log, Committed: k.meters.committed, Now: k.now, Free: FreeBytes}
			if second != nil {
				o.Second = second
			}
			if k.db, err = store.Open(ctx, k.config.DataDir, o); err == nil {
				if err = k.openClock(ctx); err == nil {
					k.undo(k.db.Close)
					return nil
				}
				err = errors.Join(err, k.db.Close())
			}
		}
		if second != nil {
			err = errors.Join(err, second.Close())
		}
		if suspect != "" || !mend || !store.IsDamage(err) {
			return err
		}
		suspect = err.Error() // found by the opening: read whole, and made again
	}
}

// openPlain opens the journal of a site without a second one: damage ends the start,
// with its cause.
func (k *control) openPlain(ctx context.Context) (err error) {
	k.db, err = store.Open(ctx, k.config.DataDir, store.Options{Disk: k.options.Disk, Log: k.log, Committed: k.meters.committed, Now: k.now, Free: FreeBytes})
	if err != nil {
		return err
	}
	k.undo(k.db.Close)
	return k.openClock(ctx)
}

// FreeBytes is what can still be written in dir; without an end where nobody knows.
func FreeBytes(dir string) (int64, error) {
	if s := space(dir); s != nil {
		return s.Free, nil
	}
	return 1 << 62, nil // nobody knows
}

func (k *control) rebuild(ctx context.Context, second store.Second, suspect string, mend bool) error {
	dir := k.config.DataDir
	_, err := os.Stat(filepath.Join(dir, siteca.AuthorityFiles[0]))
	o := store.RebuildOptions{Suspect: suspect, Only: !mend, Expected: err == nil, Log: k.log, Now: k.now, Step: k.options.Step,
		Free: FreeBytes}
	if second != nil {
		o.Second = second
	}
	err = store.Rebuild(ctx, dir, o)
	if errors.Is(err, store.ErrDamaged) {
		return fmt.Errorf("%w: start the gateway, which makes it again: edgegw run", err)
	}
	if errors.Is(err, store.ErrNoRoom) && suspect != "" {
		// It may be good enough to sell with until somebody has made room.
		k.log.Error("the damaged database is used as it is", "cause", err)
		k.damage.Store(&suspect)
		return nil
	}
	return err
}

// secondConditions tells how the second journal is, and what it was needed for.
func (k *control) secondConditions(ctx context.Context, b *health.Board) error {
	st := k.db.SecondState()
	if st.Used && !st.On && st.Cause != "" {
		b.Set(health.Condition{Code: "second_journal_off", Severity: health.Attention, Since: st.Since}.Saying(
			wording.Of("The second journal is off: %s", wording.Quote(st.Cause)),
			wording.Of("Sales are taken and sent as before, but a database that is damaged now cannot be made again in full. Look at the disk that holds %s; it is tried again every minute", k.mirrorDir())))
	}
	if st.Left > 0 {
		b.Set(health.Condition{Code: "second_journal_small", Severity: health.Attention, Since: k.since}.Saying(
			wording.Of("The second journal has no room for the oldest of the sales that wait: %d", st.Left),
			wording.Of("They are in the database. Where so many wait for long, raise store.mirror_bytes, and see why they wait: edgegw status")))
	}
	news, err := k.db.RebuiltNews(ctx)
	if err != nil || len(news) == 0 {
		return err
	}
	last := news[len(news)-1]
	title := wording.Of("The database was made again: %s. Kept: %s. Not known: %s", wording.Quote(last.Cause), wording.Quote(last.Kept), wording.Quote(last.Unknown))
	if last.Unknown == "" {
		title = wording.Of("The database was made again: %s. Kept: %s. Nothing is missing", wording.Quote(last.Cause), wording.Quote(last.Kept))
	}
	remedy := wording.Of("Nothing is sent twice: OpenFiskal is asked first. Look at the disk and the power supply of the box, make a backup, then say that you know: edgegw acknowledge")
	if last.Aside != "" {
		remedy = wording.Join(wording.Of("The damaged file lies beside it as %s: keep it until all is clear.", last.Aside), remedy)
	}
	b.Set(health.Condition{Code: "database_rebuilt", Severity: health.Attention, Since: news[0].At}.Saying(title, remedy))
	return nil
}

// Acknowledge notes that a person knows what became of the database.
func (k *control) Acknowledge(ctx context.Context, by string) (int, error) {
	return k.db.AcknowledgeRebuilt(ctx, k.now(), by)
}
