package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"edgegw/config"
)

// newFile makes a file that is its owner's alone and has it filled. It is left whole
// or not at all, and one that is there already is left as it is: there says so.
// opening begins the error where it cannot be made, writing where it is not written
// to its end.
func newFile(path string, there error, opening, writing string, fill func(*os.File) error) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return there
	}
	if err != nil {
		return fmt.Errorf("%s: %w", opening, err)
	}
	err = fill(f)
	if closed := f.Close(); err == nil && closed != nil {
		err = fmt.Errorf("%s: %w", writing, closed)
	}
	if err != nil {
		return errors.Join(err, os.Remove(path)) // half of it is no use
	}
	// Its content is synced; without its name it would be gone all the same.
	if err := config.SyncDir(filepath.Dir(path)); err != nil {
		return fmt.Errorf("%s: %w", writing, err)
	}
	return nil
}

// notOverwritten is said of a file that is there already.
func notOverwritten(path string) error {
	return fmt.Errorf("%s exists already, and is not overwritten; give another name with -o", path)
}
