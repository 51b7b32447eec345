package gateway

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"edgegw/config"
)

// makeDataDir makes the data directory and brings its name to the disk: whatever is
// synced inside a folder is gone with a name that was not. The name is synced again
// at each start, because the one that made it may have died before it could.
func makeDataDir(dir string) error {
	made := missing(dir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if made == 0 {
		// Somebody else may own the folder above, who then made this one, too.
		if err := config.SyncDir(filepath.Dir(dir)); err != nil && !errors.Is(err, fs.ErrPermission) {
			return err
		}
		return nil
	}
	for ; made > 0; made-- {
		dir = filepath.Dir(dir)
		if err := config.SyncDir(dir); err != nil {
			return err
		}
	}
	return nil
}

// missing counts the folders that are to be made for this one to be there.
func missing(dir string) (n int) {
	for {
		if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
			return n
		}
		n++
		dir = filepath.Dir(dir)
	}
}
