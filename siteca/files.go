package siteca

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// tempPattern names files on their way into place.
const tempPattern = ".siteca-*.tmp"

func exists(path string) (bool, error) {
	_, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// checkMode refuses a private key that others may read (CVE-2017-9868 in
// FAULTS.md section 6).
func checkMode(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return fmt.Errorf("private key %s may be read by others (mode %04o): run chmod 600 %s", path, mode, path)
	}
	return nil
}

// createFile puts a file in place whole and durable, and only if nothing is
// there: else it is fs.ErrExist and nothing has changed.
func createFile(path string, data []byte, mode fs.FileMode) error {
	temp, err := writeTemp(filepath.Dir(path), data, mode)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer os.Remove(temp)     // what stays is removed by a later Open
	err = os.Link(temp, path) // unlike a rename, a link never replaces
	if err != nil {
		have, lookErr := exists(path)
		switch {
		case lookErr != nil:
			return fmt.Errorf("write %s: %w", path, lookErr)
		case have:
			return fmt.Errorf("write %s: %w", path, fs.ErrExist)
		}
		err = os.Rename(temp, path) // a file system without links, such as FAT
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return syncDir(filepath.Dir(path))
}

// replaceFile puts a file in place whole and durable, over what was there.
func replaceFile(path string, data []byte, mode fs.FileMode) error {
	temp, err := writeTemp(filepath.Dir(path), data, mode)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.Rename(temp, path); err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", path, err), os.Remove(temp))
	}
	return syncDir(filepath.Dir(path))
}

// writeTemp writes beside the target; CreateTemp gives mode 0600 under any
// umask, and the wider mode of a certificate is set at the end.
func writeTemp(dir string, data []byte, mode fs.FileMode) (path string, err error) {
	f, err := os.CreateTemp(dir, tempPattern)
	if err != nil {
		return "", err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err != nil {
		return "", errors.Join(err, os.Remove(f.Name()))
	}
	return f.Name(), nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("sync directory %s: %w", dir, err)
	}
	return nil
}

// leftoverAge is far longer than any write takes: a younger file may belong to
// another process that is starting at this moment.
const leftoverAge = time.Hour

// removeLeftovers clears what a crash left half written.
func removeLeftovers(dir string, now time.Time) {
	found, _ := filepath.Glob(filepath.Join(dir, tempPattern)) // the pattern is right
	for _, path := range found {
		if info, err := os.Lstat(path); err == nil && now.Sub(info.ModTime()) > leftoverAge {
			_ = os.Remove(path) // a leftover does no harm but to take space
		}
	}
}
